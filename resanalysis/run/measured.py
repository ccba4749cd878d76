"""One table computed, written with its figure, and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from resanalysis.run.folder import Run
from resanalysis.run.manifest import versions
from resanalysis.run.store import PartialStore

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    import pandas as pd
    from matplotlib.figure import Figure

    from resanalysis.datasets import Dataset


class Measured(Protocol):
    """What the manifest records of the thing measured: a ``Subject``, or several models."""

    @property
    def model(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def data(self) -> Dataset | None: ...
    @property
    def model_sha256(self) -> str | None: ...
    @property
    def data_sha256(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def seconds(self) -> Mapping[str, float]: ...
    def view(self) -> dict[str, Any]: ...


def measure(
    run: Run,
    experiment: Callable[[PartialStore], pd.DataFrame],
    draw: Callable[[pd.DataFrame], Figure],
    *,
    options: Mapping[str, Any],
    seed: int | None = None,
    subject: Measured | None = None,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Compute one table, write it with its figure, and record both in the manifest.

    Parameters
    ----------
    run : the open run folder; its command is the stem of the files.
    experiment : called with the store of partial results.
    options : what decides the numbers beside model, data and seed.
    beside : further tables by stem that the experiment fills in; they are written too.
    """
    fingerprint: dict[str, Any] = {"command": run.command, "options": options, "seed": seed}
    fingerprint["versions"] = {
        name: version for name, version in versions().items() if name in ("resanalysis", "torch")
    }
    if subject is not None:
        fingerprint["model"] = subject.model_sha256 or subject.model
        fingerprint["data"] = subject.data_sha256
        fingerprint["view"] = subject.view()
        fingerprint["device"] = subject.device
    started = time.perf_counter()
    frame = experiment(run.store(fingerprint))
    measured = time.perf_counter()
    run.write_table(run.command, frame)
    for stem, table in (beside or {}).items():
        run.write_table(stem, table)
    run.write_figure(run.command, draw(frame))
    timings = {"measure": measured - started, "write": time.perf_counter() - measured}
    if subject is None:
        run.finish(
            options=options,
            seed=seed,
            timings=timings,
            facts={str(key): fact for key, fact in frame.attrs.items()},
        )
    else:
        run.finish(
            options={
                "model": subject.model,
                "data": subject.source,
                "device": subject.device,
                **options,
            },
            seed=seed,
            model_sha256=subject.model_sha256,
            data_sha256=subject.data_sha256,
            n=None if subject.data is None else len(subject.data),
            timings={**subject.seconds, **timings},
            view=subject.view(),
            facts={str(key): fact for key, fact in frame.attrs.items()},
        )
    return frame
