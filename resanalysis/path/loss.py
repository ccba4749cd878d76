"""The loss whose gradient is followed: each example's own cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) of each example in nats; of a language model, the mean over its positions.

    Raises
    ------
    ValueError : if the labels do not fit the output.
    """
    if logits.ndim == 2 and labels.shape == logits.shape[:1]:
        if len(labels) and int(labels.max()) >= logits.shape[1]:
            raise ValueError(
                f"label {int(labels.max())} is out of range: the model has {logits.shape[1]} classes"
            )
        return F.cross_entropy(logits, labels, reduction="none")
    if logits.ndim == 3 and labels.shape == logits.shape[:2]:
        targets = labels[:, 1:]
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none")
        return losses.sum(1) / (targets != -100).sum(1).clamp_min(1)
    raise ValueError(
        f"a loss needs one label per example, or one per token: the output is {tuple(logits.shape)}, "
        f"the labels {tuple(labels.shape)}"
    )
