"""One experiment on several models: side by side, or as training seeds of one network."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    import numpy as np
    import pandas as pd

    from resanalysis.figures.compared import compared as drawn
    from resanalysis.figures.recalibrated import recalibrated
    from resanalysis.figures.style import measured as best_known
    from resanalysis.statistics.pooling import curves, pooled

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
    first = found[experiment.stem][0]
    # `concat` keeps no attributes.
    joined[experiment.stem].attrs = {**first.attrs, "models": list(several.parts)}
    done = time.perf_counter()
    x, y = experiment.curve
    if np.isnan(joined[experiment.stem][y].to_numpy(float)).all():  # of detections: no error
        y = best_known(first, None)
    lines = curves(joined[experiment.stem], x, y)
    over = pooled(lines, x, y) if pool else None
    anew = recalibrated(joined[experiment.stem])
    again = curves(anew, x, y) if anew is not None and y in anew else None
    if again is not None and pool:
        again = pooled(again, x, y)
    chance = (
        float(first["chance_error"].iloc[0]) if y == "error" and "chance_error" in first else None
    )
    draw = partial(drawn, lines, x=x, y=y, pool=over, again=again, chance=chance)
    if over is not None:
        joined[f"{experiment.stem}_pooled"] = over
    analysis.record(joined, (figures or as_drawn)(experiment.stem, draw), done)
    return joined
