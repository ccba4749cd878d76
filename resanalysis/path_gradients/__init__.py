"""Gradients along the 2ⁿ paths of a residual network: single ones, and sums over all of one length."""

from resanalysis.path_gradients.exact import LengthGradients, length_gradients, length_sums
from resanalysis.path_gradients.rms import draw_signs, random_sign_squares
from resanalysis.path_gradients.sampled import Masks, draw_subsets, path_norms
from resanalysis.path_gradients.tape import At, Tape, freeze, record, residual_units
from resanalysis.path_gradients.unit_share import unit_shares

__all__ = [
    "At",
    "LengthGradients",
    "Masks",
    "Tape",
    "draw_signs",
    "draw_subsets",
    "freeze",
    "length_gradients",
    "length_sums",
    "path_norms",
    "random_sign_squares",
    "record",
    "residual_units",
    "unit_shares",
]
