"""A tiny detector, images with objects as COCO files, and mean average precision the plain way."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from resanalysis.models.cifar_resnet import CifarResNet
from tests.conftest import settle

Found = list[dict[str, Tensor]]


class Body(nn.Module):
    """A CIFAR ResNet's features at two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.net = CifarResNet(14, width=4, classes=5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.net.layer2(self.net.layer1(torch.relu(self.net.bn1(self.net.conv1(x)))))
        return {"fine": x, "coarse": self.net.layer3(x)}


class Detector(nn.Module):
    """Six boxes an image, at the places of the coarse map with the largest scores."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.ModuleDict({"body": Body()})
        self.score = nn.Conv2d(16, 3, 1)
        self.size = nn.Conv2d(8, 2, 4, stride=2, padding=1)

    def forward(self, images: Sequence[Tensor]) -> Found:
        features = self.backbone["body"](torch.stack(list(images)))
        rows = zip(self.score(features["coarse"]), self.size(features["fine"]), strict=True)
        return [found(scores, sizes) for scores, sizes in rows]


def found(scores: Tensor, sizes: Tensor) -> dict[str, Tensor]:
    """The six places of one image with the largest scores."""
    best, labels = (values.flatten() for values in scores.max(0))
    order = best.argsort(descending=True, stable=True)[:6]
    corner = torch.stack([order % scores.shape[2], order // scores.shape[2]], 1) * 4.0
    sides = 8 + 6 * torch.tanh(sizes.flatten(1).T[order])
    boxes = torch.cat([corner, corner + sides], 1)
    return {"boxes": boxes, "scores": best[order].sigmoid(), "labels": labels[order] + 1}


def detector() -> Detector:
    """With random weights, the same each time."""
    return settle(Detector())  # type: ignore[return-value]


def blocks(model: Detector) -> list[Any]:
    """Its residual units in order."""
    net = model.backbone["body"].net  # type: ignore[union-attr]
    return [*net.layer1, *net.layer2, *net.layer3]  # type: ignore[misc]


def write_coco(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Images of noise of these heights and widths; what is to be found is nearly what the detector finds."""
    generator = np.random.default_rng(0)
    model = detector()
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (high, wide) in enumerate(sizes):
        pixels = generator.integers(0, 256, (high // 8, wide // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((wide, high), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": high, "width": wide})
        values = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            seen = model([values])[0]
        for box, label in list(zip(seen["boxes"], seen["labels"], strict=True))[: 2 + number % 3]:
            x, y, right, bottom = box.tolist()
            shift = float(generator.normal(0, 1.2))
            sides = [x + shift, y, right - x, bottom - y]
            annotations.append(
                {
                    "id": len(annotations), "image_id": number, "category_id": int(label),
                    "bbox": sides, "area": sides[2] * sides[3], "iscrowd": 0,
                }
            )  # fmt: skip
    categories = [{"id": label, "name": f"thing {label}"} for label in (1, 2, 3)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def plain_map(folder: Path, outputs: Sequence[dict[str, Tensor]]) -> tuple[float, float]:
    """mAP and AP50 as pycocotools says them of the file and of what was found in its images."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = []
    for image, output in enumerate(outputs):
        for box, score, label in zip(
            *(output[k] for k in ("boxes", "scores", "labels")), strict=True
        ):
            x, y, right, bottom = box
            results.append(
                {
                    "image_id": image, "category_id": int(label), "score": float(score),
                    "bbox": [float(x), float(y), float(right - x), float(bottom - y)],
                }
            )  # fmt: skip
    with redirect_stdout(io.StringIO()):
        content = json.loads((folder / "annotations.json").read_text())
        truth = COCO()
        truth.dataset = content
        for number, annotation in enumerate(content["annotations"], start=1):
            annotation["id"] = number  # pycocotools takes a match with number 0 for none
        truth.createIndex()
        asked = COCOeval(truth, truth.loadRes(results), "bbox")
        asked.evaluate()
        asked.accumulate()
        asked.summarize()
    return float(asked.stats[0]), float(asked.stats[1])
