"""The output by orders in the factor of all branches: the paths of each length, forwards and backwards."""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.path_gradients.exact import length_gradients
from resanalysis.path_gradients.orders import output_orders
from resanalysis.path_gradients.tape import record, residual_units
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    joined,
    recorded_footprint,
)
from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.intervals import intervals_of

IMAGES = 32


def scaling_orders(
    network: ResidualNetwork,
    data: Dataset,
    *,
    images: int | None = IMAGES,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Expand the output in the factor λ of all branches, and stop after each degree.

    With every part replaced by its tangent at the intact pass, the logits are a polynomial in λ whose
    coefficient of degree k is the sum over the paths of length k; at λ = 1 all degrees together are the network
    as trained. The gradient splits by length in the same way, so the two shares can be laid side by side.

    Parameters
    ----------
    network : the unraveled view; its output is (N, classes).
    data : labelled examples.
    images : a seeded subset of so many; ``None`` takes all.
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : of the subset and the bootstrap.

    Returns
    -------
    DataFrame : a row for each order 0…n: ``order``; ``loss`` and ``error`` of the degrees up to it, each with
        its interval over examples, and ``agreement`` with the model's answers; ``output_share``, the signed
        share of this degree in the logits, ⟨z_k, z⟩ / ‖z‖² with the mean over classes taken out of all z; and
        ``gradient_share``, that of the paths of this length in the gradient before the first unit. Shares sum
        to 1.

    Raises
    ------
    ResanalysisError : if there are no labels, the output is not (N, classes), or no unit has a skip.

    Source: Veit et al. 2016, §5.2 (lengths of paths); the expansion is derived in docs/scaling.md.
    """
    if not data.labelled:
        raise ResanalysisError(f"orders are told by their loss, and {data.name} has no labels")
    n = residual_units(network)
    chosen = data if images is None or images >= len(data) else data.limited(images, seed)
    ready = freeze(network, device)
    batches = Batches.of(
        ready, chosen, recorded_footprint(4 * (n + 1)),
        batch_size=batch_size, dtype=ready.float_type, store=store, show_progress=show_progress,
    )  # fmt: skip
    found = joined(batches.each("orders", lambda batch: _block(ready, batch)))
    frame = pd.DataFrame({"order": range(n + 1)})
    for name, rule in (("loss", mean_band), ("error", intervals_of)):
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = rule(found[name], seed=seed)
    frame["agreement"] = found["agreement"].mean(1)
    for name in ("output_share", "gradient_share"):
        band = mean_band(found[name], seed=seed)
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = band
    frame.attrs = Provenance.of(
        network, chosen, seed, intact_loss=float(found["loss"][-1].mean()), at="first-unit"
    ).facts()
    return frame


def _block(network: ResidualNetwork, batch: Batch) -> Block:
    """Each (n + 1, N): scores of the degrees up to each one, and shares of each degree."""
    assert batch.labels is not None
    tape = record(network, batch.inputs, batch.labels, at="first-unit")
    try:
        orders = output_orders(network, tape, batch.inputs)
    except NotImplementedError as error:
        raise ResanalysisError(
            f"{network.name} has a part without a forward derivative ({str(error).splitlines()[0]}): leave its "
            "orders out with --images 0"
        ) from None
    if orders.ndim != 3:
        raise ResanalysisError(
            f"{network.name} returns {tuple(orders.shape[1:])}: orders are of an output (N, classes)"
        )
    partial_sums = orders.cumsum(0)
    found = _scores(partial_sums, batch.labels) | {
        "output_share": _shares(orders),
        "gradient_share": length_gradients(tape).shares,
    }
    return {name: batch.own(values).cpu().numpy() for name, values in found.items()}


def _scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    answers, model = logits.argmax(-1), logits[-1].argmax(-1)
    loss = [F.cross_entropy(row, labels, reduction="none") for row in logits]
    return {
        "loss": torch.stack(loss),
        "error": (answers != labels).double(),
        "agreement": (answers == model).double(),
    }


def _shares(orders: Tensor) -> Tensor:
    """⟨z_k, z⟩ / ‖z‖² (n + 1, N) with z the sum over k; a constant added to all logits counts for nothing."""
    centred = orders - orders.mean(-1, keepdim=True)
    whole = centred.sum(0)
    squared = whole.square().sum(-1)
    return torch.where(squared > 0, (centred * whole).sum(-1) / squared, torch.nan)
