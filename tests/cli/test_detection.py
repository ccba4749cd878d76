"""A detector on coco:DIR from the command line: files, figure, manifest, metrics of one's own, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.experiments import EXPERIMENTS
from resanalysis.run.report.protocol import caption
from tests.detectors import write_coco

pytest.importorskip("pycocotools", reason="mean average precision needs pycocotools")

LABELS = "does not apply to this model and data, it needs one label an example"
LEFT_OUT = {
    "gradients": LABELS, "unit_share": LABELS, "interactions": LABELS, "shapley": LABELS,
    "cka": "CKA compares the streams of examples with each other",  # these are of two sizes
    "scaling": "the model returns a list of 1, first a dict of boxes, scores, labels, in which",
}  # fmt: skip

MINE = """
import torch
from tests.detectors import detector

class Boxes:
    def __init__(self):
        self.found = 0
    def update(self, outputs, targets):
        self.found += sum(len(one["boxes"]) for one in outputs)
    def compute(self):
        return torch.tensor(self.found)

def sure(output, labels, intact):
    return torch.stack([one["scores"].max() for one in output])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detection")
    write_coco(folder / "coco", [(32, 32)] * 4 + [(24, 40)])
    (folder / "mine.py").write_text(MINE)
    return folder


def words(place: Path, out: str, *more: str, command: str = "lesion") -> list[str]:
    return [
        command, f"python:{place / 'mine.py'}:detector", "--submodule", "backbone.body", "--data",
        f"coco:{place / 'coco'}", "--out", str(place / out), *more,
    ]  # fmt: skip


@pytest.mark.saves_figures
def test_a_lesion_writes_everything(place: Path) -> None:
    result = CliRunner().invoke(app, words(place, "a"))
    assert result.exit_code == 0, result.output
    assert "intact: mAP" in result.output
    table = pd.read_csv(place / "a" / "lesion.csv")
    assert list(table["unit"]) == list(range(-1, 6))
    assert (
        table[["map", "map_low", "map_delta_high", "ap50", "ap50_delta_low"]].notna().all(axis=None)
    )
    assert (place / "a" / "lesion.png").stat().st_size > 10_000
    run = json.loads((place / "a" / "manifest.json").read_text())["lesion"]
    assert run["facts"]["whole_metrics"] == ["map", "ap50"]
    assert run["data_sha256"]
    assert (
        table["p_holm"].isna().all()
    )  # there are no tests, and no 1 for the intact network either
    said = caption("lesion", run)
    assert "map, ap50 over the whole data set: bias-corrected bootstrap over examples" in said


def test_images_of_several_sizes_are_taken_one_at_a_time(place: Path) -> None:
    result = CliRunner().invoke(app, words(place, "response", command="response"))
    assert result.exit_code == 0, result.output
    assert pd.read_csv(place / "response" / "response.csv")["n"].eq(5).all()
    result = CliRunner().invoke(app, words(place, "cka", command="cka"))
    assert result.exit_code == 1
    assert "images of several sizes have streams of" in " ".join(result.output.split())


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.saves_figures
def test_a_report_has_every_experiment_that_a_detector_allows(place: Path) -> None:
    result = CliRunner().invoke(app, words(place, "report", command="report"))
    assert result.exit_code == 0, result.output
    page = (place / "report" / "report.html").read_text(encoding="utf-8")
    measured = {
        "inspect", "lesion", "lesion_many", "reorder", "rearrange", "paths", "response", "stream",
        "refinement", "prune", "effects",
    }  # fmt: skip
    assert measured == {experiment.stem for experiment in EXPERIMENTS} - LEFT_OUT.keys()
    for stem in measured:
        assert (place / "report" / f"{stem}.png").stat().st_size > 5_000, stem
    for stem, why in LEFT_OUT.items():
        assert f"<dt>{stem}</dt><dd>" in page
        assert f"<dd>{why}" in page, stem
    assert "Traceback" not in result.output


def test_metrics_of_ones_own(place: Path) -> None:
    mine = str(place / "mine.py")
    result = CliRunner().invoke(app, words(place, "b", "--metric", f"{mine}:Boxes"))
    assert result.exit_code == 0, result.output
    table = pd.read_csv(place / "b" / "lesion.csv")
    assert (table["metric"] == 30).all()  # six an image, whatever is deleted
    assert "map" not in table
    result = CliRunner().invoke(app, words(place, "c", "--metric", f"{mine}:sure"))
    assert result.exit_code == 0, result.output
    assert pd.read_csv(place / "c" / "lesion.csv")["metric"].nunique() > 3


@pytest.mark.saves_figures
def test_rearranged_and_pruned(place: Path) -> None:
    more = {
        "rearrange": ["--kinds", "skip,swap"],
        "prune": ["--orders", "greedy", "--until", "1", "--timing", "0"],
    }
    for command, options in more.items():
        result = CliRunner().invoke(app, words(place, command, *options, command=command))
        assert result.exit_code == 0, result.output
        assert "intact: mAP" in result.output
        table = pd.read_csv(place / command / f"{command}.csv")
        assert table[["map", "map_low", "map_delta_high", "ap50"]].notna().all(axis=None)
        assert (place / command / f"{command}.png").stat().st_size > 10_000
        facts = json.loads((place / command / "manifest.json").read_text())[command]["facts"]
        assert facts["whole_metrics"] == ["map", "ap50"]
    mine = ["--metric", f"{place / 'mine.py'}:Boxes", *more["prune"]]
    result = CliRunner().invoke(app, words(place, "own", *mine, command="prune"))
    assert result.exit_code == 0, result.output
    assert (pd.read_csv(place / "own" / "prune.csv")["metric"] == 18).all()  # six in each of three


SEGMENTER = """
import torch
from torch import nn
from tests.conftest import settle
from tests.detectors import Body

class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = Body(), nn.ConvTranspose2d(16, 3, 4, stride=4)
    def forward(self, x):
        return {"out": self.head(self.body(x)["coarse"])}

def segmenter():
    return settle(Segmenter())
"""


def test_masks_of_several_sizes_and_resized(place: Path) -> None:
    rng = np.random.default_rng(0)
    (place / "seg.py").write_text(SEGMENTER)
    for name in ("images", "masks"):
        (place / "segmented" / name).mkdir(parents=True)
    for number, size in enumerate(((16, 16), (24, 16), (16, 16), (24, 16))):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(place / "segmented" / "images" / f"{number}.png")
        mask = rng.choice([0, 1, 2, 255], size).astype(np.uint8)
        Image.fromarray(mask).save(place / "segmented" / "masks" / f"{number}.png")
    given = [
        f"python:{place / 'seg.py'}:segmenter", "--submodule", "body", "--normalize", "none",
        "--data", f"masks:{place / 'segmented'}", "--out", str(place / "masked"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, ["lesion", *given])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(place / "masked" / "lesion.csv")
    assert table[["error", "miou", "miou_delta_low"]].notna().all(axis=None)
    options = ["--image-size", "16", "--orders", "greedy", "--until", "1", "--timing", "0"]
    result = CliRunner().invoke(app, ["prune", *given, *options])
    assert result.exit_code == 0, result.output
    assert "intact: Mean IoU" in result.output
    assert "nothing says which images" not in result.output
    run = json.loads((place / "masked" / "manifest.json").read_text())["prune"]
    assert run["facts"]["by"] == "metric"
    assert run["facts"]["pixels"]["image_size"] == [16, 16]


def test_several_detectors_are_laid_side_by_side(place: Path) -> None:
    given = words(place, "two")
    given[1:2] = [f"one={given[1]}", f"other={given[1]}"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(place / "two" / "lesion.csv")
    assert table.groupby("model")["map"].first().nunique() == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--per-image"], "leave --per-image"),
        (["--metric", "none.py:X"], "there is no file none.py"),
        (["--data", "coco:nowhere"], "the folder nowhere is not there"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(place: Path, more: list[str], message: str) -> None:
    result = CliRunner().invoke(app, words(place, "no", *more))
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
