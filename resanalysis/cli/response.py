"""``resanalysis response``: how strongly each layer responds, for one model or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from warnings import catch_warnings

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import MODEL_HELP, Data, Output, Source, floats

if TYPE_CHECKING:
    import pandas as pd

    from resanalysis.run.store import PartialStore


def response(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help=f"{MODEL_HELP} LABEL=MODEL says what the figure calls it.",
            show_default=False,
        ),
    ],
    data: Data,
    source: Source,
    output: Output,
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KINDS", help="Layers to measure: 3x3, 1x1, linear, … (commas), or all."
        ),
    ] = "3x3",
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Curves to compare with (net, order, layer_index, std), by the models' labels.",
        ),
    ] = None,
) -> None:
    """Standard deviation of each layer's response.

    Taken after batch norm and before the nonlinearity or addition; after the layer where no batch norm
    follows. Writes response.csv, .pdf and .png: the layers in order, and sorted by size, a line for each
    model (He et al. 2015, Figure 7); with --published also response_distance.csv.
    """
    from resanalysis import figures
    from resanalysis.experiments.response import response as experiment
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure
    from resanalysis.run.several import load_several
    from resanalysis.statistics.curves import published_responses, response_distance

    chosen = [kind.strip() for kind in kinds.split(",")]
    curves = None if published is None else published_responses(published)
    with Run(output.out, "response", fresh=output.fresh) as run:
        several = load_several(
            models,
            data,
            arch=source.arch,
            trust_pickle=source.trust_pickle,
            submodule=source.submodule,
            normalize=source.normalize,
            mean=None if source.mean is None else floats(source.mean),
            std=None if source.std is None else floats(source.std),
            limit=source.limit,
            device=source.device,
            seed=output.seed,
        )
        beside: dict[str, pd.DataFrame] = {}

        def measured(store: PartialStore) -> pd.DataFrame:
            frame = experiment(
                several.models,
                several.examples,
                kinds=chosen,
                submodule=source.submodule,
                batch_size=source.batch_size,
                device=several.device,
                seed=output.seed,
                store=store,
                show_progress=not output.quiet,
            )
            if curves is not None:
                beside["response_distance"] = response_distance(frame, curves)
                frame.attrs["distance"] = beside["response_distance"].to_dict("records")
            return frame

        with catch_warnings(record=True) as caught:
            table = measure(
                run,
                measured,
                lambda frame: figures.response(frame, published=curves),
                options={
                    "kinds": chosen,
                    "submodule": source.submodule,
                    "published": None if published is None else published.name,
                },
                seed=output.seed,
                subject=several,
                beside=beside,
            )
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            tell(output, f"note: {warning.message}")
    show(output, {"response": table}, f"response of {several.model}", run.files)
