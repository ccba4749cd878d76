"""Do the units of a stage refine one estimate: of where the stage ends, along the gradient, of the answer?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.experiments.refinement_exits import Exits, exits
from resanalysis.experiments.refinement_images import Values, refinement_images
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import BlockStore
from resanalysis.statistics.bootstrap import Band, mean_band
from resanalysis.statistics.intervals import intervals_of


def refinement(
    network: ResidualNetwork,
    data: Dataset,
    *,
    level: float = 0.95,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Measure whether units improve one estimate: of where their stage ends, of the loss, of the answer.

    If units refine an estimate of where their stage ends, the stream after each less that end has mean 0 at
    every unit, and its spread falls along the stage; each move goes down the loss; and the answer that one
    linear layer reads off the stream gets better and settles. An example's error is averaged over all its
    numbers (of tokens, those the attention mask keeps).

    Parameters
    ----------
    network : the unraveled view, in eval mode.
    level : of the intervals.
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : of the bootstrap, and of the half of the examples that lenses are fitted on.

    Returns
    -------
    DataFrame : a row per unit: ``unit``, ``name``, ``stage``; ``mean`` of the error with its BCa bootstrap
        interval over examples; ``spread``, its standard deviation over the numbers of all examples. At the
        last unit of a stage all are 0. And, each with ``_low`` and ``_high``,
        ``descent`` : cosine of the unit's move (the stream after it less the stream before it) and −∂L/∂h
        before it, L the example's own loss; ``descent_share``, its square: the share of the move's squared
        length along it, which is ``descent_chance`` for a direction drawn at random.
        ``lens_error``, ``lens_agreement`` : of the answer that an affine lens reads off the stream after the
        unit, with the label and with the model, on the half of the examples the lenses were not fitted on.
        ``settled`` : share of these whose answer changes at no later unit.
        ``head_error``, ``head_agreement`` : the same of the model's own head in place of a lens, on the same
        examples, where it can read the stream.
        NaN where something is not defined: no labels, a unit that changes the shape, an output that is not
        (N, classes).

    Raises
    ------
    ResanalysisError : if there are no examples or the stream is not finite.

    Source: Greff, Srivastava and Schmidhuber 2017, equation 2 and figure 3 (mean, spread); Jastrzębski et al.
    2018 (descent, early exits); Belrose et al. 2023 (lenses to the model's own output).
    """
    values = refinement_images(
        network, data, batch_size=batch_size, device=device, store=store,
        show_progress=show_progress,
    )  # fmt: skip
    return units_table(network, data, values, exits(values, len(network), seed), seed, level)


def units_table(
    network: ResidualNetwork,
    data: Dataset,
    values: Values,
    read: Exits | None,
    seed: int,
    level: float = 0.95,
) -> pd.DataFrame:
    """The table of ``refinement`` from what is known of each example."""
    # Of all numbers at once: the variance between examples is part of it.
    spread = np.sqrt(np.maximum(values["square"].mean(1) - values["error"].mean(1) ** 2, 0))
    frame = pd.DataFrame(
        {
            "unit": [unit.index for unit in network.units],
            "name": [unit.name for unit in network.units],
            "stage": [unit.stage for unit in network.units],
        }
    )
    _add(frame, "mean", mean_band(values["error"], level=level, seed=seed))
    frame["spread"] = spread
    for name in ("descent", "descent_share"):
        _add(frame, name, mean_band(values[name], level=level, seed=seed))
    frame["descent_chance"] = np.where(frame["descent"].notna(), _chances(network), np.nan)
    for name, rows in _rates(values, read).items():
        _add(frame, name, intervals_of(rows, level=level, seed=seed))
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        level=level,
        n_lens=None if read is None else read.fitted,
        n_exits=None if read is None else len(read.examples),
        features=_most_features(values),
    ).facts()
    return frame


def _add(frame: pd.DataFrame, name: str, band: Band) -> None:
    frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = band


def _chances(network: ResidualNetwork) -> list[float]:
    """The share of a random direction: 1 over the numbers in a vector of the stream."""
    # The squared cosine of a fixed direction with a random one in D dimensions is 1 / D on average.
    shapes = [unit.in_shape for unit in network.units]
    return [1 / (shape[-1] if len(shape) == 2 else int(np.prod(shape))) for shape in shapes]


def _most_features(values: Values) -> int:
    """Channels of the widest lens; 0 where there is none."""
    return max((len(x) for name, x in values.items() if name.startswith("features")), default=0)


def _rates(values: Values, read: Exits | None) -> dict[str, np.ndarray]:
    """What is right or wrong of each example after each unit (units, M); NaN where it is not known."""
    unknown = np.full_like(values["error"], np.nan)
    examples = slice(None) if read is None else read.examples
    labels = values.get("label")
    return {
        "lens_error": unknown if read is None or labels is None else read.error(labels[0]),
        "lens_agreement": unknown if read is None else read.agreement,
        "settled": unknown if read is None else read.settled,
        "head_error": values["exit_error"][:, examples],
        "head_agreement": values["exit_agreement"][:, examples],
    }
