"""The loss whose gradient is followed: each example's own cross-entropy, in double precision.

The gradient of the cross-entropy is softmax − onehot. For the true class of a confident example that is
p − 1 with p close to 1, which float32 rounds to multiples of 6e-8: all digits are lost, and no scaling
afterwards brings them back. From float64 logits on they are kept, and autograd casts back to the logits' type.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from resanalysis.errors import ResanalysisError


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) of each example in nats; of a language model, the mean over its positions.

    Returns
    -------
    Tensor : float64, so that a gradient taken through it is exact up to the logits' own rounding.

    Raises
    ------
    ResanalysisError : if the labels do not fit the output.
    """
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
