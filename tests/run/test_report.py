"""The page of a run folder: what its captions state, that it stands alone, that it escapes names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from resanalysis.run.atomic import ResultsError
from resanalysis.run.folder import Run
from resanalysis.run.report import caption, write_page

TABLE = pd.DataFrame(
    {"unit": [0], "name": ["a"], "stage": [0], "transition": [False], "skip": ["identity"]}
).assign(parameters=7)


def entry(**changes: object) -> dict[str, object]:
    return {"n": 10, "seed": 3, "options": {"data": "x.npz"}, "facts": {}, **changes}


@pytest.mark.parametrize(
    ("stem", "options", "facts", "text"),
    [
        ("lesion", {}, {}, "transitions are deleted too, and marked; seed 3."),
        ("lesion", {"part": "skip"}, {}, "the skip is cut here and the branch kept; seed 3."),
        (
            "lesion_many",
            {"removed": [1], "draws": 30},
            {"transitions": "excluded", "subset": "stratified subset of 10 from 20, seed 3"},
            "transitions are never deleted; 30 random draws per k; seed 3.",
        ),
        ("reorder", {"draws": 5}, {}, "transitions stay in place; 5 random orders; seed 3."),
        (
            "lesion",
            {},
            {"recalibrate": 600, "replace": "resample"},
            "and once more with statistics estimated on 600 examples that are not measured; a branch's output "
            "on another example stands in for it; transitions are deleted too, and marked; seed 3.",
        ),
    ],
)
def test_captions_state_the_protocol(
    stem: str, options: dict[str, object], facts: dict[str, object], text: str
) -> None:
    found = caption(stem, entry(options={"data": "x.npz", **options}, facts=facts))
    assert found.startswith("N = 10 examples of x.npz; ")
    assert "batch norm with its stored statistics (eval mode), weights untouched" in found
    assert found.endswith(text)
    assert str(facts.get("subset", "")) in found


def test_captions_where_nothing_is_random() -> None:
    assert caption("paths", entry(view={"units": 27})) == "27 units; nothing here is random."
    assert caption("paths", entry()) == "Nothing here is random."


def test_a_page_escapes_names_and_stands_alone(tmp_path: Path) -> None:
    figure = Figure(figsize=(1, 1))
    with Run(tmp_path, "inspect") as run:
        run.keep_table("inspect", TABLE.assign(skip="<b>pad</b>"))
        run.keep_figure("inspect", figure)
        run.finish(options={}, view={"units": 1})
    page = write_page(tmp_path, "<script>alert(1)</script>").read_text()
    assert "<script>" not in page
    assert "<b>pad" not in page
    assert "1 &lt;b&gt;pad&lt;/b&gt;" in page
    assert page.count("data:image/png;base64,iVBOR") == 1
    assert "http" not in page
    assert "$" not in page


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no finished experiment; run resanalysis lesion"):
        write_page(tmp_path, "x")
