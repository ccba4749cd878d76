"""Tables → figures for a paper: functions of a tidy DataFrame and nothing else."""

from resanalysis.figures.gradients import gradients
from resanalysis.figures.inspect import inspect
from resanalysis.figures.interactions import interactions
from resanalysis.figures.lesion import lesion
from resanalysis.figures.lesion_many import lesion_many
from resanalysis.figures.paths import paths, paths_remaining
from resanalysis.figures.prune import prune
from resanalysis.figures.rearrange import rearrange
from resanalysis.figures.reorder import reorder
from resanalysis.figures.response import response
from resanalysis.figures.scaling import scaling
from resanalysis.figures.shapley import shapley
from resanalysis.figures.stream import stream
from resanalysis.figures.unit_share import unit_share

__all__ = [
    "gradients",
    "inspect",
    "interactions",
    "lesion",
    "lesion_many",
    "paths",
    "paths_remaining",
    "prune",
    "rearrange",
    "reorder",
    "response",
    "scaling",
    "shapley",
    "stream",
    "unit_share",
]
