"""Mean average precision as COCO defines it: pycocotools matches boxes once, every resample counts matches."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets.objects import Objects
from resanalysis.errors import ResanalysisError
from resanalysis.measures.detections import detections_in
from resanalysis.routes.whole import Record, Statistic
from resanalysis.statistics.bootstrap import Floats

_MOST_DETECTIONS = 100  # of a category in an image, as COCO counts them
_RESAMPLES = 1000
_LEVELS = np.linspace(0.0, 1.0, 101)  # of recall, where COCO reads the precision
_CELLS = 1 << 20


@dataclass(frozen=True, eq=False)
class CocoPrecision:
    """``map``, the mean over categories and over overlaps of 0.50 to 0.95; ``ap50``, at 0.50 alone.

    Parameters
    ----------
    objects : of each image, in the order of the data.

    Source: Lin et al. 2014, "Microsoft COCO"; He et al. 2015, Tables 7 and 8.
    """

    objects: tuple[Objects, ...]
    resamples: int = _RESAMPLES

    def __post_init__(self) -> None:
        try:
            import pycocotools as _  # noqa: F401
        except ImportError:
            raise ResanalysisError(
                "mean average precision needs pycocotools: pip install 'resanalysis[detection]', or give a "
                "metric of your own with --metric"
            ) from None
        if not sum(len(objects) for objects in self.objects):
            raise ResanalysisError(
                "there is no object in these images, so that nothing can be found"
            )

    def records(self, output: Any, labels: Tensor | None, examples: int) -> list[Record]:
        """The detections of each image."""
        return detections_in(output, examples)

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Average precision of one route's detections."""
        matched = _matched(self.objects, records)

        def precision(weights: Floats) -> Mapping[str, Floats]:
            found = np.array([_in_pieces(category, weights) for category in matched])
            mean = _mean_of_known(found)
            return {"map": mean.mean(1), "ap50": mean[:, 0]}

        return precision


@dataclass(frozen=True, eq=False)
class _Category:
    """The detections of one category, the surest first, and what they are at each overlap.

    Attributes
    ----------
    image : (D,), where each is.
    right, wrong : (T, D) of 0 and 1; a detection in a crowd is neither.
    positives : (N,), objects to be found in each image.
    """

    image: NDArray[np.int64]
    right: Floats
    wrong: Floats
    positives: Floats


def _average_precision(category: _Category, weights: Floats) -> Floats:
    """AP at each overlap (R, T) of samples of the images; NaN of a sample without an object to be found.

    The same sums as ``COCOeval.accumulate``, with an image that occurs twice counted twice. Detections are
    sorted by score and those of one image stay together, so that the curve passes through the same corners as
    with copies one by one: within a run of equal steps neither the envelope changes nor where it is read.
    (Two detections of one image with one score to the bit are the exception: COCO leaves their order open.)
    """
    times = weights[:, None, category.image]
    right = np.cumsum(category.right * times, axis=-1)
    wrong = np.cumsum(category.wrong * times, axis=-1)
    # COCO's own guard against 0/0, kept for the same last digit.
    precision = right / (wrong + right + np.spacing(1))
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    positives = weights @ category.positives
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / positives[:, None, None]
    # The envelope is read at each level of recall where that is first reached: how many levels each
    # detection is the first to reach says how often its precision counts.
    levels = np.searchsorted(_LEVELS, recall, side="right")
    read = np.diff(levels, axis=-1, prepend=0)
    found = (envelope * read).sum(-1) / len(_LEVELS)
    return np.where(positives[:, None] > 0, found, np.nan)


def _in_pieces(category: _Category, weights: Floats) -> Floats:
    """``_average_precision``, so many samples at a time that what it holds stays small."""
    at_once = max(1, _CELLS // max(1, category.right.size))
    pieces = range(0, len(weights), at_once)
    return np.concatenate(
        [_average_precision(category, weights[at : at + at_once]) for at in pieces]
    )


def _mean_of_known(values: Floats) -> Floats:
    """The mean over the first axis, of the categories that a sample has; NaN where it has none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(0) / known.sum(0)


def _matched(objects: Sequence[Objects], records: Sequence[Record]) -> list[_Category]:
    """Matches of detections and objects, image by image: pycocotools' own."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = np.unique(np.concatenate([one.labels for one in objects])).tolist()
    with redirect_stdout(io.StringIO()):  # it reports each of its steps
        truth: Any = COCO()
        found: Any = COCO()
        truth.dataset = _dataset(_annotations(objects), len(objects), labels)
        found.dataset = _dataset(_results(records), len(objects), labels)
        truth.createIndex()
        found.createIndex()
        matching = COCOeval(truth, found, "bbox")
        matching.params.areaRng = [matching.params.areaRng[0]]  # of any size
        matching.params.maxDets = [_MOST_DETECTIONS]
        matching.evaluate()
    images: list[Any] = list(matching.evalImgs)
    n = len(objects)
    return [_category(images[k * n : (k + 1) * n]) for k in range(len(labels))]


def _category(images: Sequence[Mapping[str, Any] | None]) -> _Category:
    """The matches of one category in all images, sorted as ``COCOeval.accumulate`` does."""
    positives = np.zeros(len(images))
    places, scores, matches, ignored = [], [], [], []
    for place, one in enumerate(images):
        if one is None:
            continue
        positives[place] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        places.append(np.full(len(one["dtScores"]), place))
        scores.append(np.asarray(one["dtScores"], dtype=np.float64))
        matches.append(np.asarray(one["dtMatches"]) > 0)
        ignored.append(np.asarray(one["dtIgnore"], dtype=bool))
    # COCO's own kind of sorting: equal scores stay in the order of the images.
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    matched = np.concatenate(matches, axis=1)[:, order]
    counted = ~np.concatenate(ignored, axis=1)[:, order]
    return _Category(
        np.concatenate(places)[order],
        (matched & counted).astype(np.float64),
        (~matched & counted).astype(np.float64),
        positives,
    )


def _dataset(annotations: list[dict[str, Any]], images: int, labels: list[int]) -> dict[str, Any]:
    return {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }


def _annotations(objects: Sequence[Objects]) -> list[dict[str, Any]]:
    # Numbered from 1: pycocotools marks what is matched by the number of its match, and 0 is none.
    rows = [(image, one, place) for image, one in enumerate(objects) for place in range(len(one))]
    return [
        {
            "id": number, "image_id": image, "category_id": int(one.labels[place]),
            "bbox": one.boxes[place].tolist(), "area": float(one.areas[place]),
            "iscrowd": int(one.crowd[place]),
        }
        for number, (image, one, place) in enumerate(rows, start=1)
    ]  # fmt: skip


def _results(records: Sequence[Record]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for image, record in enumerate(records):
        corners = record["boxes"]
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
        rows = zip(boxes, record["scores"].tolist(), record["labels"].tolist(), strict=True)
        for box, score, label in rows:
            found.append(
                {
                    "id": len(found) + 1, "image_id": image, "category_id": int(label),
                    "bbox": box, "area": box[2] * box[3], "score": score, "iscrowd": 0,
                }
            )  # fmt: skip
    return found
