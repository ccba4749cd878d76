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
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resanalysis import figures
    from resanalysis.checkpoint import CheckpointError, load, save_checkpoint
    from resanalysis.datasets import DataError, Dataset, dataset, image_dataset
    from resanalysis.evaluate import Scores, evaluate
    from resanalysis.experiments.gradients import gradients
    from resanalysis.experiments.inspect import inspect
    from resanalysis.experiments.lesion import lesion
    from resanalysis.experiments.lesion_many import lesion_many
    from resanalysis.experiments.paths import paths, paths_remaining
    from resanalysis.experiments.prune import prune
    from resanalysis.experiments.rearrange import rearrange
    from resanalysis.experiments.reorder import reorder
    from resanalysis.experiments.response import response
    from resanalysis.experiments.stream import stream
    from resanalysis.experiments.stream_damage import stream_damage
    from resanalysis.experiments.stream_images import stream_images
    from resanalysis.experiments.stream_spans import stream_spans
    from resanalysis.experiments.unit_share import unit_share
    from resanalysis.network import ResidualNetwork, ResidualUnit
    from resanalysis.path_length import linear_survival
    from resanalysis.route import (
        Route,
        cut_skip,
        intact,
        kendall_tau,
        parallel,
        placed,
        reordered,
        scaled,
        swapped,
        without,
    )
    from resanalysis.shortened import shortened
    from resanalysis.unravel import UnravelError, unravel

_HOME = {
    "figures": "resanalysis.figures",
    "load": "resanalysis.checkpoint",
    "save_checkpoint": "resanalysis.checkpoint",
    "CheckpointError": "resanalysis.checkpoint",
    "dataset": "resanalysis.datasets",
    "image_dataset": "resanalysis.datasets",
    "Dataset": "resanalysis.datasets",
    "DataError": "resanalysis.datasets",
    "unravel": "resanalysis.unravel",
    "UnravelError": "resanalysis.unravel",
    "ResidualNetwork": "resanalysis.network",
    "ResidualUnit": "resanalysis.network",
    "Route": "resanalysis.route",
    "intact": "resanalysis.route",
    "without": "resanalysis.route",
    "cut_skip": "resanalysis.route",
    "scaled": "resanalysis.route",
    "swapped": "resanalysis.route",
    "reordered": "resanalysis.route",
    "placed": "resanalysis.route",
    "parallel": "resanalysis.route",
    "kendall_tau": "resanalysis.route",
    "evaluate": "resanalysis.evaluate",
    "shortened": "resanalysis.shortened",
    "Scores": "resanalysis.evaluate",
    "gradients": "resanalysis.experiments.gradients",
    "unit_share": "resanalysis.experiments.unit_share",
    "response": "resanalysis.experiments.response",
    "stream": "resanalysis.experiments.stream",
    "stream_damage": "resanalysis.experiments.stream_damage",
    "stream_images": "resanalysis.experiments.stream_images",
    "stream_spans": "resanalysis.experiments.stream_spans",
    "inspect": "resanalysis.experiments.inspect",
    "lesion": "resanalysis.experiments.lesion",
    "lesion_many": "resanalysis.experiments.lesion_many",
    "prune": "resanalysis.experiments.prune",
    "rearrange": "resanalysis.experiments.rearrange",
    "reorder": "resanalysis.experiments.reorder",
    "paths": "resanalysis.experiments.paths",
    "paths_remaining": "resanalysis.experiments.paths",
    "linear_survival": "resanalysis.path_length",
}

__all__ = [
    "CheckpointError",
    "DataError",
    "Dataset",
    "ResidualNetwork",
    "ResidualUnit",
    "Route",
    "Scores",
    "UnravelError",
    "cut_skip",
    "dataset",
    "evaluate",
    "figures",
    "gradients",
    "image_dataset",
    "inspect",
    "intact",
    "kendall_tau",
    "lesion",
    "lesion_many",
    "linear_survival",
    "load",
    "parallel",
    "paths",
    "paths_remaining",
    "placed",
    "prune",
    "rearrange",
    "reorder",
    "reordered",
    "response",
    "save_checkpoint",
    "scaled",
    "shortened",
    "stream",
    "stream_damage",
    "stream_images",
    "stream_spans",
    "swapped",
    "unit_share",
    "unravel",
    "without",
]


class _Package(ModuleType):
    """Keeps ``unravel`` and ``evaluate`` the functions when the modules of that name are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        shadowed = _HOME.get(name) == f"{__name__}.{name}" and name != "figures"
        if not (shadowed and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'resanalysis' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    value = module if name == "figures" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
