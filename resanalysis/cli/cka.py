"""``resanalysis cka``: how alike the streams after any two units are, in one network or in two."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from resanalysis.cli.analyse import Plan, analysed
from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Drawing, Models, Output, Source
from resanalysis.cli.subject import subject_of

EXAMPLES = """
resanalysis cka model.pt --data test.npz
resanalysis cka plain56.pt resnet56.pt --data test.npz
"""
WITHOUT = ("batch_size",)


def cka(
    models: Models,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    minibatch: Annotated[
        int, typer.Option(min=4, metavar="N", help="Examples, or tokens, compared at a time.")
    ] = 256,
) -> None:
    """How alike the streams after any two units are, within one network or between two.

    Linear CKA with the unbiased HSIC summed over minibatches (Kornblith et al. 2019; Nguyen et al. 2021).
    Writes cka.csv, .pdf and .png: a map with the stages marked.
    """
    if len(models) > 2:
        raise typer.BadParameter(f"one or two models are compared, got {len(models)}")
    subject, *second = [subject_of(model, data, source, output) for model in models]
    plan = Plan("cka", {"minibatch": minibatch})
    for one in second:
        other: dict[str, Any] = {"other": one.network, "other_data": one.examples()}
        plan = replace(plan, functions=other, code={"other": one.model_sha256 or one.model})
    table, files = analysed(plan, subject, source, drawing, output)
    show(output, {"cka": table}, f"cka of {' and '.join(models)}", files)
