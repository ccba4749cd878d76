"""A text, and what cuts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import language


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(language.TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and no model."""
    folder = tmp_path_factory.mktemp("words")
    language.tokenizer().save_pretrained(folder)
    return folder
