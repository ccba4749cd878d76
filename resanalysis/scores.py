"""What is kept of a network's output: per example, enough for paired statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils._pytree as pytree
from torch import Tensor

NAMES = ("error", "loss", "agreement", "kl")

Metric = Callable[[Any, Tensor | None, Any], Tensor]
"""A user's own score: of a model's output, the labels, and the intact model's output, (N,) numbers."""


def metric_name(metric: Metric) -> str:
    """What a table calls a user's score."""
    return str(getattr(metric, "__name__", type(metric).__name__))


def logits_of(output: Any) -> Tensor | None:
    """The logits in what a model returns: itself, its ``logits`` or ``out``, or its only float tensor."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        for name in ("logits", "out"):
            if isinstance(output.get(name), Tensor):
                return output[name]
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    floats = [leaf for leaf in leaves if leaf.is_floating_point()]
    return floats[0] if len(leaves) == len(floats) == 1 and floats[0].ndim > 1 else None


def scores(logits: Tensor, labels: Tensor | None, intact: Tensor) -> Tensor:
    """Error, loss, agreement and KL divergence of each example, as rows in that order.

    Parameters
    ----------
    logits : (N, classes), or (N, T, vocabulary) of a language model, whose position t predicts token
        t + 1; its scores are means over positions. Or (N, classes, H, W) of a segmentation; means
        over pixels.
    labels : (N,), or (N, T) token ids with −100 where nothing is to be predicted, or (N, H, W) classes,
        where a number that is no class is left out; ``None`` leaves error and loss undefined (NaN).
    intact : the intact network's logits.

    Returns
    -------
    Tensor (4, N) of float32: ``error`` (0 or 1; a fraction of positions), ``loss`` (cross-entropy,
        nats), ``agreement`` with the intact network's prediction, ``kl`` (intact ‖ this, nats).
        An output that is not finite counts as an error and as no agreement.
    """
    logits, intact = logits.float(), intact.float()
    if logits.ndim == 2:
        kept = torch.ones(len(logits), 1, dtype=torch.bool, device=logits.device)
        logits, intact = logits[:, None], intact[:, None]
        targets = None if labels is None else labels[:, None]
    elif logits.ndim == 4:
        classes = logits.shape[1]
        logits, intact = logits.flatten(2).mT, intact.flatten(2).mT
        targets = None if labels is None else labels.flatten(1)
        kept = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        if targets is not None:
            kept = (targets >= 0) & (targets < classes)
            targets = torch.where(kept, targets, 0)
    else:
        logits, intact = logits[:, :-1], intact[:, :-1]
        targets = None if labels is None else labels[:, 1:]
        kept = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        if targets is not None:
            kept = targets != -100
    finite = logits.isfinite().all(-1)
    predicted = logits.argmax(-1)
    log_p = F.log_softmax(logits, -1)
    log_q = F.log_softmax(intact, -1)
    agreement = (predicted == intact.argmax(-1)) & finite
    divergence = (log_q.exp() * (log_q - log_p)).sum(-1).clamp_min(0)
    undefined = torch.full_like(divergence, torch.nan)
    error, loss = undefined, undefined
    if targets is not None:
        at = targets.clamp_min(0)
        error = ((predicted != at) | ~finite).float()
        loss = -log_p.gather(-1, at[..., None])[..., 0]
    return torch.stack([_mean(row, kept) for row in (error, loss, agreement.float(), divergence)])


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, values, 0.0).sum(1) / kept.sum(1)
