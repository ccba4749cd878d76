"""Tables of known shape for the figures' tests."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from PIL import Image


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
                {
                    "run": run,
                    "epoch": epoch,
                    "train_error": level * 0.7**epoch,
                    "seconds": 3.0,
                    "test_error": 0.05 + level * 0.8**epoch,
                }
            )
            for run, level in (("a", 0.9), ("b", 0.6))
        ],
        ignore_index=True,
    )


def interactions_frame(units: int = 27) -> pd.DataFrame:
    """Pairs of near units stand in for each other, unit 0 and the last ones need each other."""
    rng = np.random.default_rng(3)
    stage = np.arange(units) * 3 // units
    pairs = [(a, b) for a in range(units) for b in range(a + 1, units)]
    frame = pd.DataFrame(pairs, columns=["unit_a", "unit_b"])
    distance = (frame["unit_b"] - frame["unit_a"]).to_numpy()
    value = 0.3 * np.exp(-distance / 3) + rng.normal(0, 0.01, len(pairs))
    value[(frame["unit_a"] == 0) & (distance > 20)] = -0.2
    for prefix, scale in (("", 1.0), ("margin_", -3.0), ("error_", 0.1)):
        frame[f"{prefix}interaction"] = scale * value
        frame[f"{prefix}interaction_low"] = scale * value - 0.02
        frame[f"{prefix}interaction_high"] = scale * value + 0.02
        frame[f"{prefix}p_fdr"] = np.where(abs(value) > 0.03, 0.001, 0.4)
    for end in "ab":
        frame[f"name_{end}"] = [f"u{unit}" for unit in frame[f"unit_{end}"]]
        frame[f"stage_{end}"] = stage[frame[f"unit_{end}"]]
    frame["distance"] = distance
    return frame


def shapley_frame(units: int = 27) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    value = rng.normal(0.2, 0.15, units)
    frame = pd.DataFrame(
        {"unit": range(units), "name": [f"u{unit}" for unit in range(units)], "value": value,
         "value_low": value - 0.05, "value_high": value + 0.08, "damage": value / 3,
         "damage_low": value / 3 - 0.02, "damage_high": value / 3 + 0.03,
         "stage": np.arange(units) * 3 // units}
    )  # fmt: skip
    frame.attrs = {"by": "loss", "orders": 40, "left_out": []}
    return frame


def scaling_frame() -> pd.DataFrame:
    factor = np.arange(16) / 10
    error = 0.05 + 0.8 * np.minimum(1, (factor - 1) ** 2)
    return pd.DataFrame(
        {"factor": factor, "error": error, "error_low": error - 0.02, "error_high": error + 0.03,
         "loss": 3 * error, "loss_low": 3 * error - 0.1, "loss_high": 3 * error + 0.1,
         "agreement": 1 - error + 0.05, "kl": 2 * error - 0.1}
    )  # fmt: skip


def effects_frame(units: int = 27, output: bool = True) -> pd.DataFrame:
    """Each unit moves the next ones most; unit 10 cannot be skipped; direct effects stay in a stage."""
    names = [*(f"u{unit}" for unit in range(units)), "output"]
    stage = np.append(np.arange(units) * 3 // units, 2)
    pairs = [
        (s, later)
        for s in range(units) if s != 10
        for later in range(s + 1, units + output)
    ]  # fmt: skip
    frame = pd.DataFrame(pairs, columns=["skipped", "unit"])
    skipped, later = frame["skipped"].to_numpy(), frame["unit"].to_numpy()
    mean = 0.1 + 0.8 * np.exp(-(later - skipped) / 4)
    frame["change_mean"], frame["change_median"], frame["change_max"] = mean, 0.9 * mean, 3 * mean
    frame["direct"] = np.where(stage[skipped] == stage[later], 0.6 * mean, np.nan)
    for end, prefix in ((skipped, "skipped_"), (later, "")):
        frame[f"{prefix}name"] = [names[unit] for unit in end]
        frame[f"{prefix}stage"] = stage[end]
    return frame


def refinement_frame(units: int = 27) -> pd.DataFrame:
    """Three stages; the mean leaves 0, the spread falls to 0 at the end of each."""
    stage = np.arange(units) * 3 // units
    left = np.array([(stage == own).nonzero()[0].max() - unit for unit, own in enumerate(stage)])
    mean = -0.02 * left
    return pd.DataFrame(
        {"unit": range(units), "name": [f"u{unit}" for unit in range(units)], "stage": stage,
         "mean": mean, "mean_low": mean - 0.01 * (left > 0), "mean_high": mean + 0.02 * (left > 0),
         "spread": 0.3 * np.sqrt(left)}
    )  # fmt: skip


def classes_frame(classes: int = 10, units: int = 27) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"class": label, "class_name": f"class {label}", "n": 20, "unit": unit, "name": f"u{unit}",
         "delta": rng.normal(0.1, 0.2) + 0.01 * label, "p_fdr": rng.random() ** 3}
        for label in range(classes) for unit in range(units)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(delta_low=frame["delta"] - 0.1, delta_high=frame["delta"] + 0.1)


def borderline_frame(examples: int = 60, units: int = 27, pictures: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    flips = np.sort(rng.binomial(units, 0.2, examples))[::-1]
    frame = pd.DataFrame(
        {"example": range(examples), "label": rng.integers(0, 3, examples),
         "prediction": rng.integers(0, 3, examples), "flips": flips, "of": units}
    )  # fmt: skip
    files: list[bytes] = []
    for number in range(pictures):
        content = io.BytesIO()
        shape = (8, 8) if number % 2 else (8, 8, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(content, "PNG")
        files.append(content.getvalue())
    frame.attrs = {"pictures": files, "classes": ("a long name of a class", "b", "c")}
    return frame


def refinement_read_frame(units: int = 27) -> pd.DataFrame:
    """``refinement_frame`` with what was read off the stream."""
    frame = refinement_frame(units)
    at = np.arange(units) / units
    known = np.where(frame["stage"].diff().fillna(1) > 0, np.nan, 0.02 + 0.1 * at)
    error = 0.6 - 0.5 * at
    columns = {"descent": known, "descent_share": known**2 + 0.001, "lens_error": error,
               "lens_agreement": 1 - error, "settled": at,
               "head_error": np.where(at > 0.7, error + 0.1, np.nan),
               "head_agreement": np.where(at > 0.7, 0.9 - error, np.nan)}  # fmt: skip
    for name, values in columns.items():
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = (
            values, values - 0.01, values + 0.02,
        )  # fmt: skip
    frame["descent_chance"] = np.where(np.isnan(known), np.nan, 0.001)
    frame.attrs = {"n_lens": 100, "features": 64}
    return frame


def depth_frame() -> pd.DataFrame:
    """Depths of right and wrong answers among three units."""
    frame = pd.DataFrame({"image": range(8), "depth": [0, 0, 1, 1, 1, 2, 3, 3]})
    frame["correct"] = [True] * 6 + [False] * 2
    frame.attrs = {"units": 3}
    return frame


def orders_frame() -> pd.DataFrame:
    """Five orders; the loss comes to its end after the third."""
    loss = np.array([2.0, 3.0, 1.0, 0.28, 0.25, 0.25])
    share = np.array([0.1, 0.3, 0.4, 0.2, 0.0, 0.0])
    frame = pd.DataFrame(
        {"order": range(6), "loss": loss, "loss_low": 0.8 * loss, "loss_high": 1.2 * loss}
    )
    for name, values in (("output_share", share), ("gradient_share", share[::-1])):
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = (
            values, values - 0.02, values + 0.02,
        )  # fmt: skip
    return frame
