"""``paper/``: files that LaTeX takes, whatever a unit is called, and numbers that are the tables'."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from resanalysis.run.report.latex import brief, escaped
from resanalysis.run.report.paper import macro_of, write_paper
from resanalysis.run.report.protocol import Asked
from resanalysis.run.report.section import Of
from tests.run.report.folders import lesion_frame, report_folder

NASTY = r"a_b{{}}%#&$\input{{/etc/passwd}}~^<'\"--中é{}"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = report_folder(tmp_path_factory.mktemp("run"), NASTY)
    write_paper(out, [Of("", out, Asked("tiny"))])
    return out / "paper"


def test_every_figure_has_two_widths_with_its_fonts_inside(paper: Path) -> None:
    for stem in ("lesion", "effects"):
        for kind, inches in (("full", 5.5), ("half", 2.7)):
            content = (paper / f"{stem}_{kind}.pdf").read_bytes()
            box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)
            assert box is not None
            assert float(box[1]) == pytest.approx(72 * inches, abs=1)
            assert b"/FontFile2" in content
            assert b"/Type3" not in content


def test_tables_are_the_numbers_of_the_csv(paper: Path) -> None:
    rows = pd.read_csv(paper / "lesion.csv")
    assert rows["delta"].tolist() == lesion_frame()["delta"].tolist()
    text = (paper / "lesion.tex").read_text()
    assert text.count(r" \\") == 1 + len(rows)
    assert "0.25 [0.235, 0.265]" in text
    assert r"\toprule" in text


def test_captions_state_the_protocol(paper: Path) -> None:
    text = (paper / "captions.tex").read_text()
    assert r"\providecommand{\captionLesion}{Each unit deleted alone." in text
    assert "N = 200 examples of x.npz; batch norm with its stored statistics" in text
    assert "seed 3." in text


def test_two_models_have_captions_of_their_own() -> None:
    assert macro_of(None, "lesion_many") == "captionLesionMany"
    assert macro_of(1, "lesion") == "captionBLesion"


def test_signs_of_latex_are_text() -> None:
    assert escaped(r"50 % of a_b $x$ \y") == r"50 \% of a\_b \$x\$ \textbackslash{}y"
    assert escaped("τ ≈ −1") == r"$\tau$ $\approx$ $-$1"
    assert escaped("a--b") == "a-{}-b"
    assert escaped("中") == "[U+4E2D]"


def test_a_table_longer_than_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="61 rows do not fit on a page"):
        brief(pd.DataFrame({"a": range(61)}))


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("pdflatex") and shutil.which("bibtex")),
    reason="needs LaTeX (apt-get install texlive-latex-recommended)",
)
def test_a_document_of_all_of_it_compiles(paper: Path) -> None:
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all"]
    for command in (latex, ["bibtex", "all"], latex, latex):
        done = subprocess.run(command, cwd=paper, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    log = (paper / "all.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "root:" not in log  # \input{/etc/passwd} is text
    assert (paper / "all.pdf").stat().st_size > 10_000
