"""Tables of known shape for the figures' tests."""

from __future__ import annotations

import numpy as np
import pandas as pd


def response_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for model, layers, level in (("resnet20", 19, 1.6), ("resnet56", 55, 1.1)):
        std = level * np.exp(rng.normal(0, 0.25, layers))
        rank = np.empty(layers, int)
        rank[np.argsort(-std)] = np.arange(1, layers + 1)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "layer": np.arange(1, layers + 1),
                    "std": std,
                    "std_low": 0.97 * std,
                    "std_high": 1.03 * std,
                    "rank": rank,
                    "stage": np.minimum(np.arange(layers) // (layers // 3), 2),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def published_frame() -> pd.DataFrame:
    rows = [
        {"net": net, "order": order, "layer_index": k + 0.05, "std": 2 - 0.02 * k}
        for net, layers in (("ResNet-20", 19), ("ResNet-56", 55), ("plain-20", 19))
        for order in ("orig", "sorted")
        for k in range(1, layers + 1)
    ]
    return pd.DataFrame(rows)


def stream_frame(units: int = 27) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    stage = np.arange(units) * 3 // units
    frame = pd.DataFrame({"unit": range(units), "name": "u", "stage": stage})
    frame["transition"] = np.append(False, np.diff(stage) > 0)
    depth = np.arange(units) / units
    measures = {
        "branch_norm": 60 * np.exp(-depth) * np.exp(rng.normal(0, 0.1, units)),
        "skip_norm": 80 * (1 + 3 * depth),
        "ratio": 0.8 * np.exp(-2 * depth),
        "cosine": rng.uniform(-0.2, 0.4, units),
        "influence": 0.2 * np.exp(-3 * depth),
        "gradient_cosine": depth**3 - 0.02,
        "exit_error": np.where(stage == 2, np.exp(-8 * (depth - 0.66)), np.nan),
    }
    for name, values in measures.items():
        frame[name] = values
        frame[f"{name}_low"], frame[f"{name}_high"] = (
            values - 0.05 * abs(values),
            values + 0.05 * abs(values),
        )
    return frame


def spans_frame(run: int = 9) -> pd.DataFrame:
    rows = [
        {"start": first + start, "length": length, "distance": 0.03 * length + 0.01 * start}
        for first in (0, 10)
        for start in range(run)
        for length in range(1, run - start + 1)
    ]
    return pd.DataFrame(rows)


def damage_frame() -> pd.DataFrame:
    rows = [
        {"measure": measure, "damage": "loss", "transitions": True, "method": method,
         "correlation": value * size, "correlation_low": value * size - 0.2,
         "correlation_high": min(1, value * size + 0.2)}
        for measure, value in (("ratio", 0.6), ("influence", 0.7), ("cosine", -0.3))
        for method, size in (("kendall", 0.8), ("spearman", 1.0))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def chain_frame(units: int) -> pd.DataFrame:
    """A post-activation ResNet with projections at two transitions and a bridge."""
    stage = np.arange(units) * 3 // units
    transition = np.append(False, np.diff(stage) > 0)
    return pd.DataFrame(
        {"unit": range(units), "stage": stage, "transition": transition,
         "skip": np.where(transition, "projection", "identity"), "join": "relu",
         "bridge": np.arange(units) == 1}
    )  # fmt: skip


def history_frame(epochs: int = 12) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.concat(
        [
            pd.DataFrame(
                {"run": run, "epoch": epoch, "train_error": level * 0.7**epoch, "seconds": 3.0,
                 "test_error": 0.05 + level * 0.8**epoch}
            )
            for run, level in (("a", 0.9), ("b", 0.6))
        ],
        ignore_index=True,
    )  # fmt: skip
