"""What a terminal is told holds nothing that it would obey."""

from __future__ import annotations

import pandas as pd
import pytest

from resanalysis.cli.console import show
from resanalysis.cli.options import Output
from tests.figures.test_figures import lesion_frame


def test_names_of_a_file_cannot_clear_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    frame: pd.DataFrame = lesion_frame(3).assign(name="\x1b[2J[bold]a[/bold]\n", n=100)
    show(Output(), {"lesion": frame}, "lesion of \x1b[31mx", [])
    said = capsys.readouterr().out
    assert "lesion of \\x1b[31mx" in said
    assert "\\x1b[2J[bold]a[/bold]\\n" in said
    assert "\x1b" not in said
