"""Metrics of a whole data set, against a detector run whole with hooks and pycocotools called plainly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.prune_choice import choose
from resanalysis.experiments.prune_order import halves
from resanalysis.figures.headlines import headlines
from resanalysis.network import ResidualNetwork
from resanalysis.run.store import PartialStore
from resanalysis.statistics.bootstrap import resampled
from tests.detectors import Detector, blocks, detector, plain_map, write_coco
from tests.experiments.conftest import Accuracy
from tests.reference import with_zeroed

pytest.importorskip("pycocotools", reason="mean average precision needs pycocotools")

EQUAL = [(32, 32)] * 9
SEVERAL = [(32, 32), (40, 24), (24, 48), (32, 32), (48, 48)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco") / "equal", EQUAL)


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return ra.dataset(f"coco:{folder}")


@pytest.fixture(scope="module")
def model() -> Detector:
    return detector()


@pytest.fixture(scope="module")
def network(model: Detector, data: Dataset) -> ResidualNetwork:
    return ra.unravel(model, data.batch(0, 4)[0], submodule="backbone.body")


@pytest.fixture(scope="module")
def table(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.lesion(network, data)


def naive(model: nn.Module, modules: list[nn.Module], data: Dataset) -> list[dict[str, Tensor]]:
    """What the whole model finds in each image by itself, with the outputs of some modules set to zero."""
    return [
        with_zeroed(model, modules, data.batch(place, place + 1)[0])[0]  # type: ignore[misc]
        for place in range(len(data))
    ]


def test_a_lesion_is_the_whole_detector_with_hooks(
    table: pd.DataFrame, model: Detector, data: Dataset, folder: Path
) -> None:
    intact = plain_map(folder, naive(model, [], data))
    assert 0.3 < intact[0] < intact[1] <= 1
    for row, unit in enumerate([None, *range(6)]):
        zeroed = [] if unit is None else [blocks(model)[unit].bn2]
        expected = plain_map(folder, naive(model, zeroed, data))
        assert table["map"][row] == pytest.approx(expected[0], abs=1e-9)
        assert table["ap50"][row] == pytest.approx(expected[1], abs=1e-9)
        assert table["map_delta"][row] == pytest.approx(expected[0] - intact[0], abs=1e-9)
    assert table["map"].nunique() > 4  # lesions are told apart
    assert table["error"].isna().all()


def test_intervals_are_over_images_and_paired(table: pd.DataFrame) -> None:
    assert (table["map_low"] <= table["map_high"]).all()
    assert (table.loc[0, ["map_delta", "map_delta_low", "map_delta_high"]] == 0).all()
    below = table["map_delta"] < -0.2
    assert below.any()
    assert (table.loc[below, "map_delta_high"] < 0).all()
    assert "the same draws for every network; 1,000 draws" in table.attrs["whole_interval"]


def test_images_of_several_sizes(tmp_path: Path, model: Detector) -> None:
    folder = write_coco(tmp_path / "several", SEVERAL)
    data = ra.dataset(f"coco:{folder}")
    network = ra.unravel(model, data.batch(0, 1)[0], submodule="backbone.body")
    frame = ra.lesion(network, data)
    for row, zeroed in ((0, []), (3, [blocks(model)[2].bn2])):
        expected = plain_map(folder, naive(model, zeroed, data))
        assert frame["map"][row] == pytest.approx(expected[0], abs=1e-9)
    with pytest.raises(
        ra.ResanalysisError, match=r"images are of several sizes: leave --batch-size"
    ):
        ra.lesion(network, data, batch_size=2)


def test_batches_change_nothing_and_a_killed_run_goes_on(
    tmp_path: Path, network: ResidualNetwork, data: Dataset, table: pd.DataFrame
) -> None:
    store = PartialStore(tmp_path / "store")
    pd.testing.assert_frame_equal(ra.lesion(network, data, batch_size=4, store=store), table)
    assert len(store) == 3

    class Broken(Dataset):
        def batch(self, start: int, stop: int):  # type: ignore[no-untyped-def]
            assert stop - start == 1, "nothing is left to run"  # one is looked at
            return super().batch(start, stop)

    kept = Broken(**vars(data))
    pd.testing.assert_frame_equal(ra.lesion(network, kept, batch_size=4, store=store), table)


def test_random_deletions(network: ResidualNetwork, data: Dataset, table: pd.DataFrame) -> None:
    frame = ra.lesion_many(network, data, removed=[1, 2], draws=6)
    alone = frame.loc[frame["removed"] == 1]
    by_unit = table.set_index("unit")["map"]
    for units, value in zip(alone["units"], alone["map"], strict=True):
        assert value == pytest.approx(by_unit[int(units)])
    assert (frame["intact_map"] == by_unit[-1]).all()
    assert alone["mean_map"].iloc[0] == pytest.approx(alone["map"].mean())
    assert (frame["mean_map_low"] < frame["mean_map"]).all()
    assert (frame["mean_map"] < frame["mean_map_high"]).all()
    assert ra.figures.lesion_many(frame).axes[0].get_ylabel() == "mAP"
    said = headlines("lesion_many", frame)
    assert said[0] == ("intact: mAP", f"{by_unit[-1]:.4g}")
    assert "nan" not in str(said)


def test_orders(network: ResidualNetwork, data: Dataset, model: Detector, folder: Path) -> None:
    frame = ra.reorder(network, data, draws=4)
    moved = frame.loc[frame["order"] == "1 0 2 3 4 5"].iloc[0]
    net = model.backbone["body"].net  # type: ignore[union-attr]
    first = net.layer1
    net.layer1 = nn.Sequential(first[1], first[0])  # type: ignore[index]
    try:
        expected = plain_map(folder, naive(model, [], data))
    finally:
        net.layer1 = first
    assert moved["map"] == pytest.approx(expected[0], abs=1e-9)
    assert frame["intact_map"].iloc[0] == frame["map"].iloc[0]
    assert "mean_ap50_low" in frame
    assert ra.figures.reorder(frame).axes[0].get_ylabel() == "mAP"
    assert "nan" not in str(headlines("reorder", frame))


class Side(nn.Module):
    """Two blocks that read the same stream, the mean of what they give read by both again."""

    def __init__(self, blocks: nn.Module, times: int) -> None:
        super().__init__()
        self.blocks, self.times = blocks, times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = (self.blocks[0](x) + self.blocks[1](x)) / 2  # type: ignore[index]
        return x


def test_the_middle_rearranged(
    network: ResidualNetwork, data: Dataset, model: Detector, folder: Path
) -> None:
    frame = ra.rearrange(network, data, draws=2)
    net = model.backbone["body"].net  # type: ignore[union-attr]
    first = net.layer1
    made: dict[str, nn.Module] = {
        "intact": first,
        "skip": nn.ReLU(),  # its skips are identities, and behind the sum is a ReLU
        "repeat": nn.Sequential(first[1], first[1]),  # type: ignore[index]
        "parallel": Side(first, 1),  # type: ignore[arg-type]
        "looped": Side(first, 3),  # type: ignore[arg-type]
        **dict.fromkeys(
            ("reverse", "shuffle", "swap"),
            nn.Sequential(first[1], first[0]),  # type: ignore[index]
        ),
    }
    largest = frame.loc[frame["size"].isin([0, 2])].set_index("kind")
    assert set(largest.index) == set(made)
    try:
        for kind, layer in made.items():
            net.layer1 = layer
            expected = plain_map(folder, naive(model, [], data))
            row = largest.loc[kind]
            assert row["map"] == pytest.approx(expected[0], abs=1e-9), kind
            assert row["ap50"] == pytest.approx(expected[1], abs=1e-9), kind
            assert row["map_delta"] == pytest.approx(expected[0] - row["intact_map"], abs=1e-9)
    finally:
        net.layer1 = first
    assert largest["map"].nunique() > 4
    assert (frame["intact_map"] == largest.loc["intact", "map"]).all()
    np.testing.assert_allclose(frame["mean_map"], frame["map"])  # each is alone
    assert frame["listed"].all()
    assert frame[["score", "error", "chance"]].isna().all(axis=None)
    assert ra.figures.rearrange(frame).axes[0].get_ylabel() == "mAP"
    said = headlines("rearrange", frame)
    assert said[0] == ("intact: mAP", f"{largest.loc['intact', 'map']:.4g}")
    assert "nan" not in str(said)
    with pytest.raises(ra.ResanalysisError, match="there are no labels to measure accuracy by"):
        ra.rearrange(network, data, measure="accuracy")


def test_units_go_by_mean_average_precision(
    network: ResidualNetwork, data: Dataset, model: Detector, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"until": 3, "timing": 0, "draws": 2, "seed": 1}
    frame = ra.prune(network, data, orders=["greedy", "lesion", "random"], **asked)
    held, rest = halves(data, 0.5, 1)

    def precision(part: Dataset, gone: Iterable[int]) -> tuple[float, float]:
        """Of the whole model with hooks, against the annotations of these images alone."""
        found = naive(model, [blocks(model)[unit].bn2 for unit in gone], part)
        return plain_map(written(part, tmp_path), found)

    gone: list[int] = []
    for unit in frame.loc[frame["order"] == "greedy", "unit"]:
        left = {u: precision(held, [*gone, u])[0] for u in range(6) if u not in gone}
        assert left[unit] == pytest.approx(max(left.values()), abs=1e-9)
        gone.append(unit)
    alone = {u: precision(held, [u])[0] for u in range(6)}
    first = frame.loc[frame["order"] == "lesion", "unit"].tolist()
    assert [alone[u] for u in first] == pytest.approx(sorted(alone.values())[:-4:-1], abs=1e-9)
    intact = precision(rest, [])
    for row in frame.itertuples():
        expected = precision(rest, [int(unit) for unit in row.units.split()])
        assert row.map == pytest.approx(expected[0], abs=1e-9)
        assert row.ap50 == pytest.approx(expected[1], abs=1e-9)
        assert row.map_delta == pytest.approx(expected[0] - intact[0], abs=1e-9)
        assert row.map_low <= row.map_high
    assert frame["map"].nunique() > 4
    assert frame.attrs["by"] == "metric"
    assert frame.attrs["whole_metrics"] == ["map", "ap50"]
    assert ra.figures.prune(frame).axes[0].get_ylabel() == "mAP"
    said = headlines("prune", frame)
    assert said[0] == ("intact: mAP", f"{intact[0]:.4g}")
    assert "nan" not in str(said)
    with pytest.raises(ra.ResanalysisError, match="compare by metric"):
        ra.prune(network, data, by="kl", **asked)
    with pytest.raises(ra.ResanalysisError, match="neither an error nor an agreement"):
        choose(frame, max_drop=0.1)
    assert choose(frame, remove=2).units == tuple(gone[:2])


def written(data: Dataset, folder: Path) -> Path:
    """The annotations of some images as a COCO file that plainly numbers them."""
    annotations = [
        {
            "image_id": number, "category_id": int(label), "bbox": box.tolist(),
            "area": float(area), "iscrowd": 0,
        }
        for number, one in enumerate(data.objects or ())
        for box, label, area in zip(one.boxes, one.labels, one.areas, strict=True)
    ]  # fmt: skip
    content = {
        "images": [{"id": number} for number in range(len(data))],
        "annotations": annotations,
        "categories": [{"id": label} for label in (1, 2, 3)],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


class Best:
    """A user's metric of the whole data set: how many detections of the commonest class there are."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self.wanted = 0

    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        self.found += [one["labels"] for one in preds]
        self.wanted += sum(len(one["boxes"]) for one in target)

    def compute(self) -> dict[str, Tensor]:
        most = torch.bincount(torch.cat(self.found)).max()
        return {"most": most, "share": most / self.wanted, "curve": torch.zeros(3)}


def test_a_class_with_update_and_compute(
    network: ResidualNetwork, data: Dataset, model: Detector
) -> None:
    frame = ra.lesion(network, data, metric=Best)
    for row, zeroed in ((0, []), (2, [blocks(model)[1].bn2])):
        labels = torch.cat([one["labels"] for one in naive(model, zeroed, data)])
        most = int(torch.bincount(labels).max())
        assert frame["metric_most"][row] == most
        wanted = sum(len(one) for one in data.objects or ())
        assert frame["metric_share"][row] == pytest.approx(most / wanted)
    assert "metric_curve" not in frame
    assert (frame["metric_share_low"] < frame["metric_share_high"]).all()
    drawn = []
    found = naive(model, [], data)
    for weights in resampled(len(data), resamples=200, seed=0):
        for times in weights.astype(int):
            labels = [found[i]["labels"] for i, often in enumerate(times) for _ in range(often)]
            drawn.append(int(torch.bincount(torch.cat(labels)).max()))
    assert min(drawn) <= frame["metric_most_low"][0] <= frame["metric_most_high"][0] <= max(drawn)
    assert ra.figures.lesion(frame).axes[0].get_ylabel() == "Change of metric_most"


def test_a_class_with_update_and_compute_on_labels() -> None:
    from tests.conftest import cifar

    images = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    data = ra.image_dataset(images, np.arange(20) % 5, mean=[0.5] * 3, std=[0.25] * 3)
    network = ra.unravel(cifar(8), data.batch(0, 4)[0])
    frame = ra.lesion(network, data, metric=Accuracy())
    np.testing.assert_allclose(frame["metric"], 1 - frame["error"])
    np.testing.assert_allclose(frame["metric_delta"], -frame["delta"], atol=1e-12)


class Wrong(Accuracy):
    def compute(self) -> float:
        raise KeyError("nothing here")


class Unknown(Accuracy):
    def update(self, preds: object, target: object) -> None:
        pass

    def compute(self) -> float:
        return float("nan")


def test_what_does_not_go_together(network: ResidualNetwork, data: Dataset) -> None:
    from resanalysis.routes.answers import Answers

    with pytest.raises(ra.ResanalysisError, match="leave --per-image"):
        ra.lesion(network, data, answers=Answers())
    with pytest.raises(ra.ResanalysisError, match="leave one of the two out"):
        ra.reorder(network, data, recalibrate=2)
    with pytest.raises(ra.ResanalysisError, match="the metric Wrong raised"):
        ra.lesion(network, data, metric=Wrong)
    with pytest.raises(ra.ResanalysisError, match=r"intact network on all \d+ examples is nan"):
        ra.lesion(network, data, metric=Unknown)
    with pytest.raises(ra.ResanalysisError, match="--metric is not known of lesions that stop"):
        ra.lesion(network, data, until_width=0.1)
    for asked in (ra.shapley, ra.gradients):
        with pytest.raises(ra.ResanalysisError, match=r"logits|label"):
            asked(network, data)


def test_what_measures_the_stream_runs(network: ResidualNetwork, data: Dataset) -> None:
    assert len(ra.stream(network, data)) == 6
    assert len(ra.cka(network, data)) > 6


def test_means_stand_in_for_branches(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion(network, data, replace="mean", mean_over=3)
    assert frame["map"].notna().all()
    assert frame.attrs["n"] == 6
    with pytest.raises(ra.ResanalysisError, match="resample cannot"):
        ra.lesion(network, data, replace="resample")


def check_masks(model: nn.Module, folder: Path) -> None:
    """Masks in files, of two sizes, against the whole model image by image."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number, size in enumerate(((16, 16), (24, 16), (16, 16), (24, 16))):
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        picture.save(folder / "images" / f"{number}.png")
        classes = rng.choice([0, 1, 2, 3, 255], size).astype(np.uint8)
        Image.fromarray(classes).save(folder / "masks" / f"{number}.png")
    data = ra.dataset(f"masks:{folder}", normalize="none")
    network = ra.unravel(model, data.batch(0, 1)[0], submodule="body")
    frame = ra.lesion(network, data)
    for row, zeroed in ((0, []), (5, [model.body.net.layer3[0].bn2])):  # type: ignore[union-attr]
        both, either = np.zeros(4), np.zeros(4)
        for number in range(4):
            answers = with_zeroed(model, zeroed, data.batch(number, number + 1)[0])["out"]  # type: ignore[call-overload]
            answer = answers[0].argmax(0).numpy()
            truth = np.asarray(Image.open(folder / "masks" / f"{number}.png"))
            for c in range(4):
                inside = truth != 255
                both[c] += ((answer == c) & (truth == c)).sum()
                either[c] += (((answer == c) | (truth == c)) & inside).sum()
        assert frame["miou"][row] == pytest.approx((both / either).mean())
    assert frame["error"].notna().all()
    whole = ra.dataset(f"masks:{folder}", normalize="none", image_size=16)
    assert ra.lesion(network, whole, metric=Pixels)["metric"][0] == 4 * 16 * 16
    with pytest.raises(ra.ResanalysisError, match="of several sizes: give --image-size"):
        ra.lesion(network, data, metric=Pixels)


class Pixels:
    """How many pixels there are."""

    def __init__(self) -> None:
        self.seen = 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        assert preds.shape[2:] == target.shape[1:]
        self.seen += target.numel()

    def compute(self) -> int:
        return self.seen


def test_classes_of_pixels_have_their_mean_iou(tmp_path: Path) -> None:
    from tests.conftest import settle

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            from tests.detectors import Body

            self.body, self.head = Body(), nn.ConvTranspose2d(16, 4, 4, stride=4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.head(self.body(x)["coarse"])}

    model = settle(Segmenter())
    check_masks(model, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    labels = np.random.default_rng(1).integers(0, 4, (6, 16, 16))
    data = ra.image_dataset(images, labels, mean=[0.5] * 3, std=[0.25] * 3)
    network = ra.unravel(model, data.batch(0, 3)[0], submodule="body")
    frame = ra.lesion(network, data)
    for row, zeroed in ((0, []), (5, [model.body.net.layer3[0].bn2])):  # type: ignore[union-attr]
        answers = with_zeroed(model, zeroed, data.batch(0, 6)[0])["out"].argmax(1)  # type: ignore[call-overload]
        truth = torch.from_numpy(labels)
        shares = [
            float(((answers == c) & (truth == c)).sum() / ((answers == c) | (truth == c)).sum())
            for c in range(4)
        ]
        assert frame["miou"][row] == pytest.approx(np.mean(shares))
    assert frame["error"].notna().all()
    assert (frame["miou_delta"][1:] != 0).any()
