"""A whole report of several models: measured once each, paired, one page that fills."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments import EXPERIMENTS
from resanalysis.network import ResidualNetwork
from resanalysis.run.manifest import damaged
from resanalysis.run.report import measuring
from resanalysis.run.report.protocol import Asked
from resanalysis.run.report.writing import QUICK, Wanted, write_report
from resanalysis.run.subject import Subject
from tests.conftest import cifar

STEMS = ("inspect", "lesion", "paths")


MODEL = cifar(14)


@cache
def pictures() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    return ra.image_dataset(images, np.arange(12) % 5, mean=[0.5] * 3, std=[0.25] * 3)


@cache
def view() -> ResidualNetwork:
    return ra.unravel(MODEL, pictures().batch(0, 12)[0])


def subject_of(name: str, digest: str) -> Subject:
    model, data, network = MODEL, pictures(), replace(view(), name=name)
    example = data.batch(0, 12)[0]
    return Subject(network=network, module=model, data=data, example=example, model=f"{name}.pt",
                   source="x.npz", model_sha256=digest, data_sha256="d")  # fmt: skip


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three experiments are enough to see how a report is put together."""
    some = tuple(one for one in EXPERIMENTS if one.stem in STEMS)
    monkeypatch.setattr(measuring, "EXPERIMENTS", some)


def wanted(out: Path, **changes: Any) -> Wanted:
    return Wanted(out=out, options={}, running={"show_progress": False}, **changes)


def test_several_models_are_laid_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ("inspect", "lesion")  # each is drawn for every model, and for all together
    some = tuple(one for one in EXPERIMENTS if one.stem in two)
    monkeypatch.setattr(measuring, "EXPERIMENTS", some)
    subjects = {
        name: subject_of(name, digest) for name, digest in (("a", "1"), ("b", "2"), ("c", "1"))
    }
    asked = {name: Asked(f"{name}.pt") for name in subjects}
    tables, files = write_report(subjects, asked, wanted(tmp_path))
    text = files[0].read_text()
    assert "c (c.pt) and a (a.pt) are one file" in text
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_dir()] == [
        "a",
        "b",
        "paper",
    ]
    assert re.findall(r'<section id="([\w-]+)"', text) == ["findings", "pairs", *two]
    lesion = text.partition('<section id="lesion"')[2].partition("</section>")[0]
    assert lesion.count("<svg ") == 2 * 3  # together, and each
    assert (
        lesion.index("All models in one figure.")
        < lesion.index("<h3>a</h3>")
        < lesion.index("<h3>b</h3>")
    )
    assert 'href="b/lesion.csv"' in lesion
    assert f"<code>resanalysis lesion b.pt --out {tmp_path / 'b'}</code>" in lesion
    # Two names of equal weights answer alike.
    (row,) = tables["pairs"].to_dict("records")
    assert (row["model_a"], row["model_b"], row["difference"], row["p_value"]) == ("a", "b", 0, 1)
    assert (tmp_path / "pairs.csv").is_file()
    assert (tmp_path / "paper" / "b-lesion_half.pdf").is_file()
    assert damaged(tmp_path) == []


@pytest.mark.usefixtures("few")
def test_the_page_fills_as_experiments_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resanalysis.run.report.page import Page

    seen: list[tuple[int, int]] = []
    write = Page.write

    def noted(self: Page, status: Any = None) -> Path:
        path = write(self, status)
        text = path.read_text()
        assert text.endswith("</html>\n") or text.endswith("</html>")
        seen.append((text.count("<li><b>"), len(re.findall(r'<section id="\w+">', text))))
        return path

    monkeypatch.setattr(Page, "write", noted)
    write_report({"a": subject_of("a", "1")}, {"a": Asked("a.pt")}, wanted(tmp_path, quick=True))
    assert [pending for pending, _ in seen] == [3, 2, 1, 0, 0]
    assert [sections for _, sections in seen] == [0, 1, 2, 3, 3]


@pytest.mark.usefixtures("few")
def test_what_is_long_is_said_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resanalysis.run.report import writing

    monkeypatch.setattr(writing, "seconds_per_pass", lambda _: 10.0)

    def say(text: str) -> None:
        raise KeyboardInterrupt(text)

    with pytest.raises(KeyboardInterrupt, match=r"^lesion: 6 units × 12 examples: about 8 min$"):
        write_report({"a": subject_of("a", "1")}, {"a": Asked("a.pt")}, wanted(tmp_path, tell=say))
    assert not (tmp_path / "lesion.csv").exists()
    assert (
        tmp_path / "inspect.csv"
    ).is_file()  # which takes no time, and of which nothing was said


def test_labels_that_make_one_folder_are_refused(tmp_path: Path) -> None:
    subjects = {name: subject_of("x", name) for name in ("a b", "a?b")}
    asked = {name: Asked("x.pt") for name in subjects}
    with pytest.raises(ResanalysisError, match="would go to the same folder a_b"):
        write_report(subjects, asked, wanted(tmp_path))


def test_a_label_leads_out_of_no_folder(tmp_path: Path) -> None:
    from resanalysis.run.report.writing import folders_of

    found = folders_of(["..", "b"], {"..": Asked("x"), "b": Asked("y")}, tmp_path)
    assert [of.out for of in found] == [tmp_path / "_", tmp_path / "b"]


def test_quick_options_are_ones_there_are() -> None:
    from importlib import import_module
    from inspect import signature

    for stem, options in QUICK.items():
        function = getattr(import_module(f"resanalysis.experiments.{stem}"), stem)
        assert set(options) <= set(signature(function).parameters)
