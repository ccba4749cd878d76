"""resanalysis: take a trained residual network apart.

    import resanalysis as ra

    model = ra.load("model.pt")
    data = ra.dataset("test.npz", normalize="imagenet")
    network = ra.unravel(model, data.batch(0, 8)[0])
    table = ra.lesion(network, data)
    ra.figures.lesion(table).savefig("lesion.pdf")

Names are imported when they are first used, so that what needs no torch starts at once.
"""

from __future__ import annotations

import importlib
from typing import Any

from resanalysis.experiments import EXPERIMENTS

__version__ = "0.1.0"

_PUBLIC = {
    "resanalysis.checkpoint": ("load", "save_checkpoint", "CheckpointError"),
    "resanalysis.datasets": ("dataset", "image_dataset", "Dataset", "DataError"),
    "resanalysis.errors": ("ResanalysisError",),
    "resanalysis.experiments.inspect": ("inspect_parts",),
    "resanalysis.experiments.per_image": ("borderline", "class_damage", "image_rows"),
    "resanalysis.experiments.paths": ("paths_remaining",),
    "resanalysis.experiments.refinement_depth": ("refinement_depth",),
    "resanalysis.experiments.scaling_orders": ("scaling_orders",),
    "resanalysis.experiments.stream_damage": ("stream_damage",),
    "resanalysis.experiments.stream_images": ("stream_images",),
    "resanalysis.experiments.stream_spans": ("stream_spans",),
    "resanalysis.network": ("ResidualNetwork", "ResidualUnit"),
    "resanalysis.routes.answers": ("Answers",),
    "resanalysis.routes.evaluator": ("Scores", "evaluate"),
    "resanalysis.routes.route": (
        "Route", "cut_skip", "intact", "kendall_tau", "parallel", "placed", "reordered", "scaled",
        "swapped", "without",
    ),
    "resanalysis.routes.shortening": ("shortened",),
    "resanalysis.statistics.path_length": ("linear_survival",),
    "resanalysis.view": ("UnravelError", "unravel"),
}  # fmt: skip
"""Where each public name lives; it is imported when it is first used. Experiments are in their own tuple."""

_HOME = {experiment.stem: experiment.home for experiment in EXPERIMENTS} | {
    name: module for module, names in _PUBLIC.items() for name in names
}

__all__ = ["figures", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "figures":
        return importlib.import_module("resanalysis.figures")
    if name not in _HOME:
        raise AttributeError(f"module 'resanalysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
