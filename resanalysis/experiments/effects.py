"""What skipping a unit does to the branch of every later unit, and to the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.measures.passage import Passage, check_finite, norms, passages
from resanalysis.network import ResidualNetwork, run_piece
from resanalysis.routes.batches import Batch, Batches, Block, BlockStore, Footprint, joined

OUTPUT = "output"


def effects(
    network: ResidualNetwork,
    data: Dataset,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Skip each unit by itself and measure how far every later branch moves.

    The change is ‖b′ − b‖ / ‖b‖, b the later unit's branch in the intact network and b′ without the skipped
    unit. A stream (N, T, C) has one value a token that the attention mask keeps, any other one an example; a
    vector that is zero in the intact network has none.

    Parameters
    ----------
    network : the unraveled view, in eval mode.
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : recorded; nothing here is random.

    Returns
    -------
    DataFrame : a row for each unit that can be skipped and each unit behind it; earlier units do not change.
        ``skipped``, ``unit`` : the two; the number of units stands for the model's output, if it has one alone.
        ``change_mean``, ``change_median``, ``change_max`` : of the relative change over examples, or tokens.
        ``direct`` : the mean change where what the skipped unit added is taken from the stream before
        ``unit``, and all between add what they add in the intact network. NaN where the two are not in
        one run of equal shape.
        ``skipped_name``, ``name``, ``skipped_stage``, ``stage``.

    Raises
    ------
    ResanalysisError : if there are no examples, no unit can be skipped, or a branch is not finite.

    Source: Csordás, Manning and Potts 2025, "Do language models use their depth efficiently?".
    """
    if len(data) == 0:
        raise ResanalysisError(f"nothing to measure {network.name} on: the data has no examples")
    skippable = [unit.index for unit in network.units if unit.deletable]
    if not skippable:
        raise ResanalysisError(f"no unit of {network.name} can be skipped: it has no skips")
    ready = network if device is None else network.to(device)
    batches = Batches.of(
        ready, data, Footprint(live=1, held=16 + 3 * len(ready), output=40),
        batch_size=batch_size, store=store, show_progress=show_progress,
    )  # fmt: skip
    found = joined(batches.each("effects", lambda batch: _block(ready, batch, skippable)))
    frame = _table(network, found, skippable)
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(data),
        "units": len(network),
        "seed": seed,
        "subset": data.subset,
        "batch_norm": "running statistics",
        "left_out": [unit.index for unit in network.units if not unit.deletable],
    }
    return frame


def _table(
    network: ResidualNetwork, found: Mapping[str, NDArray[np.float32]], skippable: list[int]
) -> pd.DataFrame:
    """A row for each pair that was measured, and who the two are."""
    rows: list[dict[str, Any]] = []
    for of, skipped in enumerate(skippable):
        for later in range(skipped + 1, len(network) + 1):
            if f"change{later}" in found:
                change, direct = (found[f"{what}{later}"][of] for what in ("change", "direct"))
                rows.append({"skipped": skipped, "unit": later, **_summary(change, direct)})
    if not rows:
        raise ResanalysisError(
            f"{network.name} has no unit behind one that can be skipped, and no single output"
        )
    frame = pd.DataFrame(rows)
    names = [*(unit.name for unit in network.units), OUTPUT]
    stages = [*(unit.stage for unit in network.units), network.units[-1].stage]
    for what, known in (("name", names), ("stage", stages)):
        frame[f"skipped_{what}"] = [known[unit] for unit in frame["skipped"]]
        frame[what] = [known[unit] for unit in frame["unit"]]
    return frame


@torch.no_grad()
def _block(network: ResidualNetwork, batch: Batch, skippable: list[int]) -> Block:
    """``changeJ`` and ``directJ`` (skippable units before J, values) for every later J; n is the output.

    One array for each J: units of another stage may have another number of tokens.
    """
    passed: list[Passage] = []
    end, side = passages(network, *network.enter(batch.inputs), passed.append)
    output = network.leave(end, side)
    intact = [passage.branch for passage in passed]
    intact += [output] if isinstance(output, Tensor) else []  # a part may return several features
    for unit, branch in zip(network.units, intact, strict=False):  # the output may follow
        check_finite("branch of", unit, branch, batch)
    run_of = {unit: run for run in network.runs() for unit in run}
    found: dict[str, list[NDArray[np.float32]]] = {}

    def note(what: str, later: int, values: Tensor | None) -> None:
        changed = _relative_change(intact[later], values, batch)
        found.setdefault(f"{what}{later}", []).append(changed)

    for skipped in skippable:
        here = passed[skipped]
        without = here.unit.without_branch(here.entered, here.side)
        # Only what is behind the skipped unit runs again: before it nothing has changed.
        h, beside = passages(
            network, without, here.side,
            lambda passage: note("change", passage.unit.index, passage.branch), start=skipped + 1,
        )  # fmt: skip
        run = run_of.get(skipped, ())
        for later in range(skipped + 1, len(network)):
            at = passed[later]
            direct = None
            if later in run:
                # The skipped unit's own share, join and gate included. Of an identity join it is the branch.
                direct = run_piece(at.unit.branch, at.entered - (here.left - without), at.side)
            note("direct", later, direct)
        if len(intact) > len(network):
            note("change", len(network), network.leave(h, beside))
            last = len(network) - 1 in run
            moved = network.leave(end - (here.left - without), side) if last else None
            note("direct", len(network), moved)
    return {name: np.stack(arrays) for name, arrays in found.items()}


def _relative_change(intact: Tensor, values: Tensor | None, batch: Batch) -> NDArray[np.float32]:
    """‖values − intact‖ / ‖intact‖ of each example or kept token; NaN where there is none."""
    size = norms(intact)
    apart = torch.full_like(size, torch.nan) if values is None else norms(values - intact)
    if values is not None:  # NaN is for what has no change; one that overflows has no bound
        apart = torch.where(apart.isfinite(), apart, torch.inf)
    change = torch.where(size > 0, apart / size, torch.nan)[: batch.stop - batch.start]
    kept = batch.kept_tokens
    if kept is not None and kept[: len(change)].shape == change.shape:
        change = change[kept[: len(change)].to(change.device)]
    return change.flatten().float().cpu().numpy()


def _summary(change: NDArray[np.float32], direct: NDArray[np.float32]) -> dict[str, float]:
    """The table's numbers of one pair, over the values that exist."""
    total, part = (values[~np.isnan(values)].astype(np.float64) for values in (change, direct))
    there = len(total) > 0
    return {
        "change_mean": float(total.mean()) if there else np.nan,
        "change_median": float(np.median(total)) if there else np.nan,
        "change_max": float(total.max()) if there else np.nan,
        "direct": float(part.mean()) if len(part) else np.nan,
    }
