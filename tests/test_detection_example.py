"""The detector in examples/: its canvases, one step of its training, and what is read of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import resanalysis as ra
from tests.conftest import ROOT

DETECTION = ROOT / "examples" / "fashion_detection.py"


def test_the_detector_is_trained_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("fashion_detection", DETECTION)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    some = ra.dataset("bundled:fashion-mnist-test", limit=50)
    images = some.source.read(some.indices)
    example.write_canvases(images, some.labels, Path("coco/train"), 4, seed=0)
    data = ra.dataset("coco:coco/train")
    assert data.objects is not None
    inputs, _ = data.batch(0, 4)
    for picture, objects in zip(inputs, data.objects, strict=True):
        assert len(objects)
        for x, y, wide, high in objects.boxes.astype(
            int
        ):  # tight boxes: every border holds a pixel
            inside = picture[0, y : y + high, x : x + wide] > 25 / 255
            for line in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert line.any()
    Path("build").mkdir()
    example.train(Path("coco"), Path("build/fashion-detector.pt"), steps=1, batch=2, seed=0)
    model = ra.load(f"python:{DETECTION}:trained")
    body = ra.load("bundled:resnet20-fashion-mnist").state_dict()
    for name, value in model.backbone.body.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, body[name])  # frozen, batch-norm statistics too
    assert set(model(inputs)[0]) == {"boxes", "labels", "scores"}
