"""A small detector to take apart: Fashion-MNIST objects on canvases, found by a Faster R-CNN.

    python examples/fashion_detection.py canvases /usr/share/datasets/fashion-mnist build/fashion-coco
    python examples/fashion_detection.py train build/fashion-coco build/fashion-detector.pt
    resanalysis lesion python:examples/fashion_detection.py:trained --submodule backbone.body \\
        --data coco:build/fashion-coco/val

Its backbone is the ResNet-20 that ships (bundled:resnet20-fashion-mnist), frozen: what is trained is the
feature pyramid, the region proposals and the heads. The same weights so classify and detect, and deleting a
unit of them can be compared between the two. Training is resumed where it was left.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

import resanalysis as ra
from resanalysis.datasets.idx import FASHION_CLASSES, read_mnist
from resanalysis.models.cifar_resnet import CifarResNet

CANVAS = 96
SIDES = (20, 28, 40, 56)
"""Of the pasted images, which are 28 pixels wide in the data set."""
MEAN, STD = 0.2860, 0.3530
"""As the backbone was trained with, on images in 0 to 1."""


class Body(CifarResNet):
    """ResNet-20 of width 8 without its classifier: what its last two stages return."""

    def __init__(self) -> None:
        super().__init__(20, channels=1, width=8)
        del self.linear

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.layer1(F.relu(self.bn1(self.conv1(x[:, :1]))))
        second = self.layer2(first)
        return OrderedDict(fine=second, coarse=self.layer3(second))


class Backbone(nn.Module):
    """The body, frozen with its batch-norm statistics, and a feature pyramid on it."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.body = Body().requires_grad_(False)
        self.fpn = FeaturePyramidNetwork([16, 32], self.out_channels, LastLevelMaxPool())

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn(self.body(x))


def detector() -> FasterRCNN:
    """The detector, untrained."""
    backbone = Backbone()
    width = backbone.out_channels
    levels = ["fine", "coarse", "pool"]
    return FasterRCNN(
        backbone,
        min_size=CANVAS,
        max_size=CANVAS,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
        rpn_anchor_generator=AnchorGenerator(((14,), (26,), (44,)), ((0.5, 1.0, 2.0),) * 3),
        rpn_pre_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=150,
        rpn_post_nms_top_n_test=60,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(width * 7 * 7, 128),
        box_predictor=FastRCNNPredictor(128, 1 + len(FASHION_CLASSES)),
        box_detections_per_img=20,
    )


def trained() -> FasterRCNN:
    """The detector as the command above trains it, from the folder that is worked in."""
    model = detector()
    model.load_state_dict(torch.load("build/fashion-detector.pt", weights_only=True))
    return model


def canvas(
    images: NDArray[np.uint8], labels: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.uint8], list[tuple[int, list[int]]]]:
    """One to four objects on black: the canvas, and of each object its class and box (x, y, width, height)."""
    found = np.zeros((CANVAS, CANVAS), np.uint8)
    taken = np.zeros((CANVAS, CANVAS), bool)
    objects: list[tuple[int, list[int]]] = []
    for _ in range(generator.integers(1, 5)):
        side = int(generator.choice(SIDES))
        chosen = int(generator.integers(len(images)))
        tile = np.asarray(Image.fromarray(images[chosen, 0]).resize((side, side), Image.BILINEAR))
        if (tile > 25).sum() < 16:
            continue
        rows, columns = np.flatnonzero((tile > 25).any(1)), np.flatnonzero((tile > 25).any(0))
        for _ in range(
            20
        ):  # places are drawn until one is nearly free; else there is one object fewer
            y, x = generator.integers(0, CANVAS - side + 1, 2)
            box = [
                int(x + columns[0]),
                int(y + rows[0]),
                int(np.ptp(columns)) + 1,
                int(np.ptp(rows)) + 1,
            ]
            under = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
            if taken[under].mean() < 0.1:
                taken[under] = True
                place = np.s_[y : y + side, x : x + side]
                found[place] = np.maximum(found[place], tile)
                objects.append((int(labels[chosen]), box))
                break
    return found, objects


def write_canvases(
    images: NDArray[np.uint8], labels: NDArray[np.int64], out: Path, count: int, seed: int
) -> None:
    """Canvases as PNG files, with their annotations as COCO has them."""
    generator = np.random.default_rng(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    entries, annotations = [], []
    for number in range(count):
        pixels, objects = canvas(images, labels, generator)
        name = f"{number:06d}.png"
        Image.fromarray(pixels).save(out / "images" / name)
        entries.append({"id": number, "file_name": name, "width": CANVAS, "height": CANVAS})
        for label, box in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": label + 1,
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                }
            )  # fmt: skip
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(FASHION_CLASSES)]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (out / "annotations.json").write_text(json.dumps(content))


def training_batch(
    folder: Path, content: dict[str, list[dict]], chosen: NDArray[np.int64]
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images and targets as torchvision's detectors take them."""
    images, targets = [], []
    for number in chosen:
        entry = content["images"][number]
        pixels = np.asarray(Image.open(folder / "images" / entry["file_name"]))
        images.append(torch.from_numpy(pixels.copy()).float().div(255).expand(3, -1, -1))
        own = content["objects"][number]
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32).view(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        targets.append(
            {
                "boxes": boxes,
                "labels": torch.tensor([a["category_id"] for a in own], dtype=torch.long),
            }
        )
    return images, targets


def train(data: Path, out: Path, steps: int, batch: int, seed: int) -> None:
    """Train what is not the body; every 100 steps the state is kept beside ``out``."""
    content = json.loads((data / "train" / "annotations.json").read_text())
    content["objects"] = [[] for _ in content["images"]]
    for annotation in content["annotations"]:
        content["objects"][annotation["image_id"]].append(annotation)
    torch.manual_seed(seed)
    model = detector()
    pretrained = ra.load("bundled:resnet20-fashion-mnist").state_dict()
    model.backbone.body.load_state_dict(
        {key: value for key, value in pretrained.items() if not key.startswith("linear.")}
    )
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
    kept = out.with_suffix(".training")
    first, seconds = 0, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, seconds = state["step"], state["seconds"]
    started, total = time.process_time(), 0.0
    for step in range(first, steps):
        # Batch and proposals of a step follow from its number, so that a resumed run is the whole one.
        torch.manual_seed(seed * 1_000_003 + step)
        chosen = np.random.default_rng([seed, step]).integers(0, len(content["images"]), batch)
        loss = sum(model(*training_batch(data / "train", content, chosen)).values())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if (step + 1) % 100 == 0:
            spent = seconds + time.process_time() - started
            print(
                f"step {step + 1}: loss {total / 100:.3f}, {spent:.0f} s of processor", flush=True
            )
            total = 0.0
            state = {
                "model": model.state_dict(), "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(), "step": step + 1, "seconds": spent,
            }  # fmt: skip
            partial = kept.with_name(kept.name + ".partial")
            torch.save(state, partial)
            os.replace(partial, kept)
    torch.save(model.state_dict(), out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("canvases")
    one.add_argument("source", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--train", type=int, default=4000)
    one.add_argument("--val", type=int, default=500)
    two = commands.add_parser("train")
    two.add_argument("data", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--steps", type=int, default=1600)
    two.add_argument("--batch", type=int, default=8)
    two.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.command == "canvases":
        parts = (("train", "train", given.train, 1), ("test", "val", given.val, 2))
        for part, name, count, seed in parts:
            write_canvases(*read_mnist(given.source, part), given.out / name, count, seed)
    else:
        train(given.data, given.out, given.steps, given.batch, given.seed)


if __name__ == "__main__":
    main()
