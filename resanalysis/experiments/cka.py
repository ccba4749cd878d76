"""How alike the streams after any two units are: centred kernel alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import Batch, Batches, Block


def cka(
    network: ResidualNetwork,
    data: Dataset,
    *,
    other: ResidualNetwork | None = None,
    other_data: Dataset | None = None,
    minibatch: int = 256,
    device: torch.device | str | None = None,
    seed: int = 0,
    **running: Any,
) -> pd.DataFrame:
    """Linear CKA between the stream after each unit and after each other, of one network or of two.

    Parameters
    ----------
    other, other_data : a second network, and the same examples as it takes them.
    minibatch : rows compared at a time, 4 or more: examples with their streams flattened, or tokens.
        The unbiased HSIC is summed over minibatches: their size changes the noise and not what is estimated.
    seed : of nothing here; recorded.

    Returns
    -------
    DataFrame : ``unit_a``, ``unit_b`` (−1: the stream before the first unit), ``cka``, and their stages.

    Source: Kornblith et al. 2019; minibatches: Nguyen, Raghu and Kornblith 2021; HSIC₁: Song et al. 2012.
    """
    _check(data, minibatch, running.pop("batch_size", None))
    views = [one if device is None else one.to(device) for one in (network, other or network)]
    shape = views[0].units[0].in_shape
    running["batch_size"] = max(1, minibatch // (shape[0] if len(shape) == 2 else 1))
    first = Batches.of(views[0], data, **running)
    second = Batches.of(views[1], other_data or data, **running)

    def measure(batch: Batch) -> Block:
        mine = _grams(views[0], batch)
        theirs = mine if other is None else _grams(views[1], second.batch(batch.start, batch.stop))
        if mine.shape[1:] != theirs.shape[1:]:
            raise ResanalysisError(f"{network.name} and {views[1].name} have streams of other rows")
        pairs = {"ab": _hsic(mine, theirs), "aa": _hsic(mine, mine), "bb": _hsic(theirs, theirs)}
        return {name: np.atleast_3d(values.cpu().numpy()) for name, values in pairs.items()}

    frame = _table(_aligned(first.each("cka", measure)), views)
    frame.attrs = Provenance.of(
        network, data, seed, other=None if other is None else other.name, minibatch=minibatch
    ).facts()
    return frame


def _check(data: Dataset, minibatch: int, batch_size: int | None) -> None:
    if minibatch < 4 or len(data) < 4:
        raise ResanalysisError(
            f"CKA compares 4 rows or more, got {len(data)} examples, {minibatch} at a time"
        )
    if batch_size is not None:
        raise ResanalysisError("the batches of CKA are its minibatches: give minibatch instead")
    if not data.one_size:
        raise ResanalysisError(
            "CKA compares the streams of examples with each other, and images of several sizes have streams of "
            "several sizes: give it images of one size"
        )


def _table(pairs: NDArray[np.floating], views: Sequence[ResidualNetwork]) -> pd.DataFrame:
    stages = [[0, *(unit.stage for unit in view.units)] for view in views]
    return pd.DataFrame(
        {"unit_a": a - 1, "unit_b": b - 1, "cka": value, "stage_a": stages[0][a], "stage_b": stages[1][b]}
        for (a, b), value in np.ndenumerate(pairs)
    )  # fmt: skip


def _aligned(blocks: Sequence[Block]) -> NDArray[np.floating]:
    """CKA of every pair, (units + 1, units + 1), from the HSIC summed over minibatches."""
    ab, aa, bb = (sum(block[name][:, :, 0] for block in blocks) for name in ("ab", "aa", "bb"))
    with np.errstate(invalid="ignore"):  # an unbiased estimate of nothing may be below 0
        return ab / np.sqrt(np.outer(np.diag(aa), np.diag(bb)))


@torch.no_grad()
def _grams(network: ResidualNetwork, batch: Batch) -> Tensor:
    """Gram matrices (units + 1, rows, rows) of the streams in float64, their diagonals 0."""
    grams: list[Tensor] = []
    kept = batch.kept_tokens

    def see(h: Tensor) -> Tensor:
        values = h[: batch.stop - batch.start].double()
        if values.ndim == 3:
            chosen = ... if kept is None else kept[: len(values)]
            values = values[chosen].reshape(-1, values.shape[-1])
        rows = values.flatten(1)
        rows = rows - rows.mean(0)  # which HSIC does not see; without it digits are lost
        grams.append((rows @ rows.T).fill_diagonal_(0))
        return h

    h, side = network.enter(batch.inputs)
    network.walk(see(h), side, lambda unit, h, side: see(unit(h, side)))
    return torch.stack(grams)


def _hsic(one: Tensor, other: Tensor) -> Tensor:
    """HSIC₁ of every pair of Gram matrices without diagonals, up to a factor that all pairs share."""
    n = one.shape[-1]
    if n < 4:  # a last batch of few: it has no estimate
        return one.new_zeros(len(one), len(other))
    # HSIC₁ = (tr K L + 1ᵀK1 · 1ᵀL1 / ((n−1)(n−2)) − 2 · 1ᵀK L 1 / (n−2)) / (n (n−3)), with zeros on the
    # diagonals: what makes it unbiased. K and L are symmetric, so that tr K L is the sum of products of
    # entries.
    (rows, others), traces = (one.sum(2), other.sum(2)), one.flatten(1) @ other.flatten(1).T
    means = torch.outer(rows.sum(1), others.sum(1)) / ((n - 1) * (n - 2))
    return (traces + means - 2 / (n - 2) * rows @ others.T) / (n * (n - 3))
