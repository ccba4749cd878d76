"""The page of a run folder: that it stands alone, says what the tables say, and escapes names."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from resanalysis.errors import ResultsError
from resanalysis.run.report.page import Page, Status
from resanalysis.run.report.protocol import Asked
from resanalysis.run.report.section import Of
from tests.run.report.folders import lesion_frame, write


def page_of(out: Path, title: str = "tiny", status: Status | None = None) -> str:
    page = Page(out / "report.html", title, [Of("", out, Asked(title, {}, str(out)))])
    return page.write(status).read_text()


@pytest.fixture(scope="module")
def text(tiny_run: Path) -> str:
    return page_of(tiny_run)


def test_the_first_screen_says_what_the_tables_say(text: str) -> None:
    assert "8.00 %" in text
    assert "95 %: 6.00 to 10.00 %" in text
    assert "The network needs 1 of its 12 units. It needs unit 4 (layer4) most" in text
    assert "the error rises by 25.00 points" in text
    assert "95 %: +23.50 to +26.50 points" in text


def test_every_section_has_protocol_command_and_files(text: str) -> None:
    for stem in ("lesion", "effects"):
        part = text.partition(f'<section id="{stem}"')[2].partition("</section>")[0]
        assert "N = 200 examples of x.npz" in part
        assert f"<code>resanalysis {stem} tiny" in part
        assert f'href="{stem}.csv"' in part
        assert part.count("<svg ") == 2


def test_it_needs_nothing_else(text: str) -> None:
    assert len(text) < 5_000_000
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert "url(http" not in text
    assert not re.findall(r"@import|<link", text)


def test_names_are_defined_once_and_referred_to(text: str) -> None:
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used <= set(names)


def test_hovering_says_unit_value_interval_and_p(text: str) -> None:
    part = text.partition('<section id="lesion"')[2]
    (first, *_) = re.findall(r'data-spots="([^"]*)"', part)
    spots = json.loads(unescape(first))
    (found,) = [words for _, _, words in spots if words.startswith("unit 4 ")]
    assert found == (
        "unit 4 · layer4\nchange of error +25.00 points\n95 %: +23.50 to +26.50 points\np (Holm) 1e−09"
    )
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y, _ in spots)


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&quot;{}"
    write(tmp_path, "lesion", lesion_frame(name))
    text = page_of(tmp_path, "<script>alert(2)</script>")
    assert "<img" not in text
    assert "<script>alert" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "&lt;script&gt;alert(2)" in text


def test_what_is_to_come_and_what_is_left_out_is_said(tiny_run: Path) -> None:
    status = Status(pending=[("prune", "12 units: about 9 min")], left_out=[("cka", "no data")])
    text = page_of(tiny_run, status=status)
    assert "<b>prune</b> 12 units: about 9 min" in text
    assert 'http-equiv="refresh"' in text
    assert "<dt>cka</dt><dd>no data</dd>" in text


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no finished experiment; run resanalysis lesion"):
        page_of(tmp_path)
