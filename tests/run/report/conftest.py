"""A run folder that is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.report.folders import report_folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lesion and a map; tests add pages to it, and change nothing that is there."""
    return report_folder(tmp_path_factory.mktemp("run"))
