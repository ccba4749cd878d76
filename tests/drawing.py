"""Tests of something else lay figures out and do not save them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from resanalysis.run.folder import Run


def _laid_out(run: Run, stem: str, figure: Figure) -> tuple[Path, Path]:
    figure.draw_without_rendering()
    return run.keep(f"{stem}.pdf", b"%PDF"), run.keep(f"{stem}.png", b"\x89PNG")


@pytest.fixture(autouse=True)
def laid_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fonts and pixels, twice, are a third of a short command: its figures are made until everything has its
    place, except in tests that are marked ``saves_figures``.
    """
    if "saves_figures" not in request.keywords:
        monkeypatch.setattr(Run, "keep_figure", _laid_out)
