"""How large the gradient is in each layer: whether signals vanish on their way back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from resanalysis.training.examples import Examples


def gradient_norms(
    model: nn.Module, examples: Examples, *, batch_size: int, batches: int = 8
) -> list[dict[str, Any]]:
    """Norm of the loss's gradient with respect to the weights of each layer.

    Measured in training mode, as a training step has it: batch norm uses the batch's own statistics.
    The model is left as it was, its running statistics included.

    Parameters
    ----------
    examples : the first ``batches`` × ``batch_size`` of them are used, without crops and flips.

    Returns
    -------
    list of dict : a row for each layer, in the order of the network: ``layer``, ``name``, ``norm`` (mean
        over batches of the norm of the mean loss's gradient), ``norm_low``, ``norm_high`` (smallest and
        largest of the batches).

    Source: He et al. 2015, §4.1 (the gradients of plain networks do not vanish).
    """
    weights = [
        (name, module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    device = weights[0][1].device
    # In training mode batch norm moves its running statistics, and counts.
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    training = model.training
    model.train()
    norms: list[list[float]] = []
    for start in range(0, min(len(examples), batches * batch_size), batch_size):
        images, labels = examples.batch(slice(start, start + batch_size))
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        # Not `backward`, which would leave its gradients where the next step of the training adds to them.
        gradients = torch.autograd.grad(loss, [weight for _, weight in weights])
        norms.append([float(gradient.norm()) for gradient in gradients])
    model.train(training)
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    return [
        {
            "layer": index,
            "name": name,
            "norm": sum(found) / len(found),
            "norm_low": min(found),
            "norm_high": max(found),
        }
        for index, ((name, _), found) in enumerate(
            zip(weights, zip(*norms, strict=True), strict=True)
        )
    ]
