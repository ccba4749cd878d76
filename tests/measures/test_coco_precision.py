"""COCO's mean average precision of samples of images, against pycocotools on those images."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.datasets.objects import Objects
from resanalysis.measures.coco_precision import CocoPrecision
from resanalysis.statistics.bootstrap import resampled

pytest.importorskip("pycocotools", reason="mean average precision needs pycocotools")

Record = dict[str, np.ndarray]


def scene(seed: int, images: int = 12, shift: float = 3.0) -> tuple[list[Objects], list[Record]]:
    """Objects of three categories, some of them crowds, and detections near them and elsewhere.

    Many scores are equal between images, and none within one; the third category is in one image alone.
    """
    generator = np.random.default_rng(seed)
    truth, found = [], []
    for image in range(images):
        n = int(generator.integers(0, 5))
        corner = generator.uniform(0, 60, (n, 2))
        boxes = np.concatenate([corner, generator.uniform(8, 30, (n, 2))], axis=1)
        labels = generator.integers(1, 3, n)
        if image == 0:
            boxes, labels = np.array([[5.0, 5.0, 20.0, 20.0]]), np.array([7])
        crowd = generator.random(len(boxes)) < 0.15
        truth.append(Objects(boxes, labels, boxes[:, 2] * boxes[:, 3], crowd))
        near = np.repeat(boxes, 2, axis=0) + generator.normal(0, shift, (2 * len(boxes), 4))
        far = np.concatenate([generator.uniform(0, 60, (3, 2)), np.full((3, 2), 12.0)], axis=1)
        guessed = np.concatenate([near, far]).astype(np.float32)
        guessed[:, 2:] = np.maximum(guessed[:, 2:], 1)
        guessed[:, 2:] += guessed[:, :2]
        some = np.concatenate([np.repeat(labels, 2), generator.choice([1, 2, 7], 3)])
        scores = (generator.permutation(len(guessed)) / 20).astype(np.float32)
        found.append({"boxes": guessed, "scores": scores, "labels": some})
    return truth, found


def plainly(truth: list[Objects], found: list[Record], times: np.ndarray) -> tuple[float, float]:
    """mAP and AP50 as pycocotools says them, every image as often as it was drawn, under ids of its own."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    order = np.repeat(np.arange(len(truth)), times.astype(int))
    annotations, results = [], []
    for image, place in enumerate(order):
        one, record = truth[place], found[place]
        for box, label, area, crowd in zip(
            one.boxes, one.labels, one.areas, one.crowd, strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": int(label),
                    "bbox": box.tolist(), "area": area, "iscrowd": int(crowd),
                }
            )  # fmt: skip
        for box, score, label in zip(*record.values(), strict=True):
            x, y, right, bottom = box
            results.append(
                {
                    "image_id": image, "category_id": int(label), "score": float(score),
                    "bbox": [float(x), float(y), float(right - x), float(bottom - y)],
                }
            )  # fmt: skip
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(order))],
            "categories": [{"id": label} for label in (1, 2, 7)],
            "annotations": annotations,
        }
        coco.createIndex()
        asked = COCOeval(coco, coco.loadRes(results), "bbox")
        asked.evaluate()
        asked.accumulate()
        asked.summarize()
    # It says −1 where there is nothing to be found.
    return tuple(float(x) if x >= 0 else float("nan") for x in asked.stats[:2])  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(3))
def test_samples_of_images_are_those_images_again_and_again(seed: int) -> None:
    truth, found = scene(seed)
    asked = CocoPrecision(tuple(truth)).statistic(found)
    draws = next(resampled(len(truth), resamples=8, seed=seed))
    weights = np.concatenate([np.ones((1, len(truth))), draws])
    assert (weights[1:, 0] == 0).any()  # samples without the third category
    values = asked(weights)
    expected = np.array([plainly(truth, found, times) for times in weights])
    np.testing.assert_allclose(values["map"], expected[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(values["ap50"], expected[:, 1], rtol=0, atol=1e-12)
    assert 0.02 < values["map"][0] < values["ap50"][0] < 1


def test_perfect_detections_and_none() -> None:
    truth, _ = scene(0)
    corners = [np.concatenate([t.boxes[:, :2], t.boxes[:, :2] + t.boxes[:, 2:]], 1) for t in truth]
    perfect = [
        {"boxes": boxes, "scores": np.ones(len(boxes)), "labels": one.labels}
        for boxes, one in zip(corners, truth, strict=True)
    ]
    nothing = [{name: values[:0] for name, values in record.items()} for record in perfect]
    asked = CocoPrecision(tuple(truth))
    everything = np.ones((1, len(truth)))
    assert asked.statistic(perfect)(everything)["map"][0] == pytest.approx(1)
    assert asked.statistic(nothing)(everything)["map"][0] == 0
    empty = np.zeros((1, len(truth)))
    empty[0, [i for i, one in enumerate(truth) if not len(one)][:1]] = 1
    assert np.isnan(asked.statistic(perfect)(empty)["map"]).all()  # a sample without an object


def test_many_detections_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = scene(1)
    weights = next(resampled(len(truth), resamples=7, seed=0))
    asked = CocoPrecision(tuple(truth))
    whole = asked.statistic(found)(weights)
    monkeypatch.setattr("resanalysis.measures.coco_precision._CELLS", 1)
    np.testing.assert_array_equal(asked.statistic(found)(weights)["map"], whole["map"])


def test_what_is_no_detection_is_refused() -> None:
    truth, _ = scene(0, images=2)
    asked = CocoPrecision(tuple(truth))
    one = {"boxes": torch.zeros(1, 4), "scores": torch.ones(1), "labels": torch.ones(1).long()}
    assert len(asked.records([one, one], None, 2)) == 2
    for output in (
        torch.zeros(2, 4),
        [one],
        [one, {"boxes": torch.zeros(1, 4)}],
        [one, one | {"boxes": torch.zeros(1, 3)}],
    ):
        with pytest.raises(ra.ResanalysisError, match="a dict of boxes"):
            asked.records(output, None, 2)
    broken = one | {"scores": torch.tensor([torch.nan])}
    assert len(asked.records([broken], None, 1)[0]["boxes"]) == 0  # NaN finds nothing


def test_nothing_to_find_and_no_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ra.ResanalysisError, match="no object in these images"):
        CocoPrecision((empty,))
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ra.ResanalysisError, match=r"pip install 'resanalysis\[detection\]'"):
        CocoPrecision(tuple(scene(0)[0]))
