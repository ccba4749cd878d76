"""What is kept of a network's output: per example, enough for paired statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = ("error", "loss", "agreement", "kl")


def scores(logits: Tensor, labels: Tensor | None, intact: Tensor) -> Tensor:
    """Error, loss, agreement and KL divergence of each example, as rows in that order.

    Parameters
    ----------
    logits : (N, classes), or (N, T, vocabulary) of a language model, whose position t predicts token
        t + 1; its scores are means over positions.
    labels : (N,), or (N, T) token ids with −100 where nothing is to be predicted; ``None`` leaves
        error and loss undefined (NaN).
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
