"""The page in a real browser: no complaint, points say what they are, tables sort and filter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resanalysis.run.report.page import Page
from resanalysis.run.report.protocol import Asked
from resanalysis.run.report.section import Of
from tests.chromium import CHROMIUM, Browser
from tests.run.report.folders import lesion_frame

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def page(tiny_run: Path) -> Path:
    return Page(tiny_run / "seen.html", "tiny", [Of("", tiny_run, Asked("tiny"))]).write()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def place(browser: Browser, expression: str) -> tuple[float, float]:
    """The middle of an element, scrolled into the window."""
    x, y = browser.value(
        f"(() => {{ const e = {expression}; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
        "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    browser.settle()
    return x, y


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_without_complaint_and_without_a_side_scroll(
    page: Path, browser: Browser, width: int, dark: bool
) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") == width
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(252, 252, 250)")


def test_hovering_a_point_says_which_unit_it_is(page: Path, browser: Browser) -> None:
    browser.open(page)
    place(browser, "document.querySelector('#lesion .wide svg')")
    x, y, text = browser.value(
        "(() => { const p = document.querySelector('#lesion .wide'), b ="
        " p.querySelector('svg').getBoundingClientRect();"
        "const s = JSON.parse(p.dataset.spots).find((s) => s[2].startsWith('unit 4 '));"
        "return [b.x + s[0] * b.width, b.y + s[1] * b.height, s[2]]; })()"
    )
    assert browser.value("document.getElementById('tip').hidden") is True
    browser.mouse("mouseMoved", x + 3, y - 2)
    assert browser.value("document.getElementById('tip').hidden") is False
    assert browser.value("document.getElementById('tip').textContent") == text
    # The point is where the drawing has it: the mark's own box is there.
    marks = browser.value(
        "[...document.querySelectorAll('#lesion .wide use')].map((u) => { const b ="
        " u.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"
    )
    assert min((a - x) ** 2 + (b - y) ** 2 for a, b in marks) < 4
    browser.mouse("mouseMoved", 2, 2)
    assert browser.value("document.getElementById('tip').hidden") is True


def test_a_click_on_a_column_sorts_by_it(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.value("document.querySelector('#lesion details').open = true")
    head = "document.querySelector('#lesion th[data-name=delta]')"
    column = browser.value(f"{head}.cellIndex")
    values = (
        "[...document.querySelectorAll('#lesion tbody tr')].map((r) => "
        f"parseFloat(r.cells[{column}].textContent.replace('−', '-')))"
    )
    expected = sorted(float(f"{value:.4g}") for value in lesion_frame()["delta"])
    browser.click(*place(browser, f"{head}.querySelector('button')"))
    assert browser.value(values) == expected
    assert browser.value(f"{head}.getAttribute('aria-sort')") == "ascending"
    browser.click(*place(browser, f"{head}.querySelector('button')"))
    assert browser.value(values) == expected[::-1]


@pytest.mark.parametrize(
    ("text", "rows"), [("unit=4", 1), ("delta>0.1", 1), ("layer1", 3), ("x y", 0)]
)
def test_a_filter_leaves_the_rows_that_match(
    page: Path, browser: Browser, text: str, rows: int
) -> None:
    browser.open(page)
    browser.value("document.querySelector('#lesion details').open = true")
    browser.value("document.querySelector('#lesion input').focus()")
    browser.call("Input.insertText", text=text)
    shown = "[...document.querySelectorAll('#lesion tbody tr')].filter((r) => !r.hidden).length"
    assert browser.value(shown) == rows
    assert browser.value("document.querySelector('#lesion output').textContent") == f"{rows} of 13"


def test_it_prints(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.printed().startswith(b"%PDF")
