"""The loss whose gradient is followed: each example's own cross-entropy, in double precision.

The gradient of the cross-entropy is softmax − onehot. For the true class of a confident example that is
p − 1 with p close to 1, which float32 rounds to multiples of 6e-8: all digits are lost, and no scaling
afterwards brings them back. From float64 logits on they are kept; but the gradient of a margin of 90 nats is
1e-39, below the range of float32, and so it is scaled before it is cast back.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resanalysis.errors import ResanalysisError


def loss_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each example's loss, differentiated in double precision.

    Returns
    -------
    gradient : at the logits, in their shape and type, divided by ``scale``.
    scale : (N,) of float64, powers of two: the largest component of an example's gradient is 0.5 to 1, or 0.
    losses : (N,) of float64, nats.

    Raises
    ------
    ResanalysisError : if the labels do not fit the output.
    """
    with torch.enable_grad():
        start = logits.detach().double().requires_grad_()
        losses = example_losses(start, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), start)
    gradient, scale = rescaled(gradient)
    return gradient.to(logits.dtype), scale, losses.detach()


def rescaled(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """A gradient (N, …) divided by a power of two (N,) of each example, which rounds nothing."""
    # A power of two changes the exponent alone, no digit. frexp gives |x| = m · 2ᵉ with m from 0.5 to 1.
    size = gradient.flatten(1).abs().amax(1)
    exponent = torch.where(size > 0, torch.frexp(size).exponent, 0)
    scale = torch.ldexp(torch.ones_like(size), exponent)
    return gradient / scale.view(-1, *(1,) * (gradient.ndim - 1)), scale


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) of each example in nats; of a language model, the mean over its positions.

    Returns
    -------
    Tensor : float64, so that a gradient taken through it is exact up to the logits' own rounding.

    Raises
    ------
    ResanalysisError : if the labels do not fit the output.
    """
    if logits.shape == labels.shape and labels.dtype is torch.bool:  # several right classes
        values = logits.double()
        return values.logsumexp(1) - values.masked_fill(~labels, -torch.inf).logsumexp(1)
    if logits.ndim == 2 and labels.shape == logits.shape[:1]:
        if len(labels) and int(labels.max()) >= logits.shape[1]:
            raise ResanalysisError(
                f"label {int(labels.max())} is out of range: the model has {logits.shape[1]} classes"
            )
        return F.cross_entropy(logits.double(), labels, reduction="none")
    if logits.ndim == 3 and labels.shape == logits.shape[:2]:
        targets = labels[:, 1:]
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2).double(), targets, reduction="none")
        return losses.sum(1) / (targets != -100).sum(1).clamp_min(1)
    raise ResanalysisError(
        f"a loss needs one label per example, or one per token: the output is {tuple(logits.shape)}, "
        f"the labels {tuple(labels.shape)}"
    )
