"""Run folders of known tables, written without measuring anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from resanalysis.experiments import experiment_named
from resanalysis.run.folder import Run
from tests.figures.frames import effects_frame

FACTS = {"model": "tiny", "data": "x.npz", "n": 200, "seed": 3}


def lesion_frame(name: str = "layer{}") -> pd.DataFrame:
    """Twelve units of which one is needed; intervals around every value."""
    unit = np.arange(-1, 12)
    delta = np.where(unit == 4, 0.25, 0.001 * np.maximum(unit, 0))
    error = 0.08 + delta
    frame = pd.DataFrame({"unit": unit, "name": ["intact", *(name.format(u) for u in range(12))]})
    frame["stage"] = np.maximum(unit, 0) // 4
    frame["transition"] = unit == 8
    for column, values, spread in (("error", error, 0.02), ("delta", delta, 0.015)):
        frame[column] = values
        frame[f"{column}_low"], frame[f"{column}_high"] = values - spread, values + spread
    frame["p_value"] = frame["p_holm"] = np.where(unit == 4, 1e-9, 0.75)
    return frame.assign(loss=error, agreement=1 - delta, kl=delta, chance_error=0.9)


def write(out: Path, stem: str, frame: pd.DataFrame, **facts: object) -> None:
    """One experiment's files and its entry, as measuring it would leave them."""
    with Run(out, stem) as run:
        run.keep_table(stem, frame)
        run.keep_figure(stem, experiment_named(stem).draw({stem: frame}))
        run.finish(options={"data": "x.npz"}, seed=3, n=200, facts={**FACTS, **facts},
                   view={"units": 12, "stages": 3, "skips": {"identity": 12}, "parameters": 9})  # fmt: skip


def report_folder(out: Path, name: str = "layer{}") -> Path:
    """A lesion and a map."""
    write(out, "lesion", lesion_frame(name))
    write(out, "effects", effects_frame(6))
    return out
