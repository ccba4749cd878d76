"""One experiment on several models: side by side, or as training seeds of one network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from resanalysis.errors import ResanalysisError
from resanalysis.experiments import Experiment
from resanalysis.run.measured import Analysis, Figures, as_drawn
from resanalysis.run.several import Several

if TYPE_CHECKING:
    import pandas as pd


def compared(
    analysis: Analysis,
    experiment: Experiment,
    several: Several,
    *,
    functions: Mapping[str, Any] | None = None,
    figures: Figures | None = None,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """Measure each model, and write their rows in one table with a column ``model``, and one figure.

    Parameters
    ----------
    analysis : its option ``pool`` treats the models as training seeds of one network: also STEM_pooled.csv,
        means over seeds with intervals between seeds.

    Raises
    ------
    ResanalysisError : for an experiment that has no curve to lay side by side.
    """
    import pandas as pd

    if experiment.curve is None:
        raise ResanalysisError(f"{experiment.stem} takes one model, got {', '.join(several.parts)}")
    store = analysis.store()
    options = {**analysis.options, **(functions or {}), "seed": analysis.seed}
    pool = bool(options.pop("pool", False))
    found: dict[str, list[pd.DataFrame]] = {}
    for label, subject in several.parts.items():
        tables = experiment.measure(subject, **options, store=store.within(label), **running)
        for stem, table in tables.items():
            found.setdefault(stem, []).append(table.assign(model=label))
    joined = {stem: pd.concat(frames, ignore_index=True) for stem, frames in found.items()}
    # `concat` keeps no attributes.
    own = dict(zip(several.parts, found[experiment.stem], strict=True))
    joined[experiment.stem].attrs.update(_facts(own))
    done = time.perf_counter()
    draw, over = _drawing(joined[experiment.stem], experiment.curve, pool)
    if over is not None:
        joined[f"{experiment.stem}_pooled"] = over
    analysis.record(joined, (figures or as_drawn)(experiment.stem, draw), done)
    return joined


def _facts(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What the tables of several models state: what holds for all, and beside it what is of each alone."""
    stated = {
        label: {str(key): fact for key, fact in table.attrs.items()}
        for label, table in tables.items()
    }
    first = next(iter(stated.values()))
    common = {
        key: fact
        for key, fact in first.items()
        if all(key in facts and facts[key] == fact for facts in stated.values())
    }
    of_each = {
        label: {key: fact for key, fact in facts.items() if key not in common}
        for label, facts in stated.items()
    }
    return {**common, "models": list(tables), "of_each": of_each}


def _drawing(
    table: pd.DataFrame, curve: tuple[str, str], pool: bool
) -> tuple[Callable[..., Any], pd.DataFrame | None]:
    """What draws the models' rows, and their means where the models are seeds of one network."""
    import numpy as np

    from resanalysis.figures.compared import compared as drawn
    from resanalysis.figures.recalibrated import recalibrated
    from resanalysis.figures.style import measured as best_known
    from resanalysis.statistics.pooling import curves, pooled

    x, y = curve
    if np.isnan(table[y].to_numpy(float)).all():  # of detections: no error
        y = best_known(table, None)
    lines = curves(table, x, y)
    over = pooled(lines, x, y) if pool else None
    anew = recalibrated(table)
    again = curves(anew, x, y) if anew is not None and y in anew else None
    if again is not None and pool:
        again = pooled(again, x, y)
    known = y == "error" and "chance_error" in table
    chance = float(table["chance_error"].iloc[0]) if known else None
    return partial(drawn, lines, x=x, y=y, pool=over, again=again, chance=chance), over
