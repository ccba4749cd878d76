"""``resanalysis stream``: what each unit adds to the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of

if TYPE_CHECKING:
    import pandas as pd


def stream(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    damage: Annotated[
        bool,
        typer.Option(help="Also delete each unit, and compare: which measure tells what can go?"),
    ] = True,
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Also stream_images.csv, a row per example and unit."),
    ] = False,
) -> None:
    """What each unit adds to the stream, and which cheap measure tells the units that can go.

    Writes stream.csv, .pdf and .png: norms of branch and skip, their ratio and angle, influence,
    angle with the gradient, early exit, gates and scales; stream_spans.csv: how far spans of units
    turn the stream; and, from a lesion of each unit (stream_lesion.csv), stream_damage.csv: the rank
    correlation of each measure with the damage. From 100 examples on, the damage is measured on one half
    of them and the measures compared with it on the other.
    """
    from resanalysis import figures
    from resanalysis.experiments.lesion import lesion
    from resanalysis.experiments.stream_page import halves, stream_page
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    how: dict[str, Any] = {"seed": output.seed}
    beside: dict[str, pd.DataFrame] = {}
    with Run(output.out, "stream", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        network, examples = subject.network, subject.examples()
        how |= running(subject, source, output)

        def experiment(store: Any) -> pd.DataFrame:
            others = None
            if damage:
                seen, others = halves(examples, output.seed)
                beside["stream_lesion"] = lesion(network, seen, store=store, **how)
            page = stream_page(
                network, examples, lesion=beside.get("stream_lesion"), others=others,
                per_image=per_image, store=store, **how,
            )  # fmt: skip
            beside.update(page)
            return beside.pop("stream")

        def draw(frame: pd.DataFrame) -> Any:
            return figures.stream(
                frame, spans=beside.get("stream_spans"), damage=beside.get("stream_damage")
            )

        table = measure(
            run,
            experiment,
            draw,
            options={"damage": damage, "per_image": per_image},
            seed=output.seed,
            subject=subject,
            beside=beside,
        )
    show(output, {"stream": table}, f"stream of {model}", run.files)
