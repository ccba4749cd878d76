"""The pixels a model is given are those that its own library would give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from resanalysis.checkpoint import (
    CheckpointError,
    ModelInfo,
    Preprocessing,
    load,
    save_checkpoint,
)
from resanalysis.checkpoint.presets import of_hugging_face, of_timm, of_torchvision
from resanalysis.datasets import dataset
from resanalysis.datasets.pixels import Pixels
from resanalysis.models.architecture import Architecture
from resanalysis.run.model_data import data_for
from resanalysis.run.reading import Reading
from tests.conftest import cifar

Transform = Callable[[Image.Image], Tensor]
SIZES = [(320, 240), (240, 321), (250, 299), (224, 224), (231, 233), (60, 90), (257, 500)]
PROCESSORS = {
    "ViT": ("ViTImageProcessor", {}),
    "ConvNeXT": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 of several shapes and kinds: smooth, noisy, grey, transparent, compressed."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a").mkdir()
    generator = np.random.default_rng(0)
    for number in range(20):
        width, height = SIZES[number % len(SIZES)]
        coarse = generator.integers(0, 256, (9, 9, 4), dtype=np.uint8)
        noise = generator.integers(-40, 40, (height, width, 4))
        smooth = np.asarray(Image.fromarray(coarse, "RGBA").resize((width, height)), dtype=int)
        image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8), "RGBA")
        mode = ("RGB", "L", "RGBA", "P")[number % 4]
        kind = "jpg" if mode == "RGB" else "png"
        (image.convert("RGB") if mode == "P" else image).convert(mode).save(
            folder / "a" / f"{number:02d}.{kind}"
        )
    return folder


def torchvision_model(name: str) -> tuple[Preprocessing, Transform]:
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name)
    return of_torchvision(name), weights.DEFAULT.transforms()


def timm_model(name: str) -> tuple[Preprocessing, Transform]:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_model_data_config

    model = type("Model", (), {"pretrained_cfg": timm.get_pretrained_cfg(name).to_dict()})()
    theirs: Any = create_transform(**resolve_model_data_config(model), is_training=False)
    return of_timm(model), theirs


def hugging_face_model(name: str, folder: Path) -> tuple[Preprocessing, Transform]:
    transformers = pytest.importorskip("transformers")
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    processor.save_pretrained(folder)
    found = of_hugging_face(folder)
    assert found is not None
    return found, lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0]


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:resnet50",  # 232, bilinear
        "torchvision:swin_v2_t",  # 260 to 256, bicubic
        "torchvision:efficientnet_b1",  # 255 to 240
        "timm:resnet50.a1_in1k",  # 0.95, bicubic
        "timm:vit_tiny_patch16_384.augreg_in21k_ft_in1k",  # 1.0, another mean
        "timm:eva02_tiny_patch14_336.mim_in22k_ft_in1k",  # squashed
        "hf:ViT",  # squashed, as a tensor
        "hf:ConvNeXT",
    ],
)
def test_pixels_are_the_librarys_own(name: str, pictures: Path, tmp_path: Path) -> None:
    library, _, model = name.partition(":")
    if library == "torchvision":
        said, theirs = torchvision_model(model)
    elif library == "timm":
        said, theirs = timm_model(model)
    else:
        said, theirs = hugging_face_model(model, tmp_path)
    info = ModelInfo(name, preprocessing=said)
    data = data_for(info, f"folder:{pictures}")
    ours, _ = data.batch(0, len(data))
    assert isinstance(ours, Tensor)
    assert len(ours) == 20
    for path, image in zip(sorted((pictures / "a").iterdir()), ours, strict=True):
        with Image.open(path) as picture:
            expected = theirs(picture.convert("RGB"))
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5, msg=path.name)


def test_the_presets_differ_from_the_usual(pictures: Path) -> None:
    """What the test above would not see: that all of them were one and the same."""
    said = {name: of_torchvision(name).pixels for name in ("resnet50", "swin_v2_t", "resnet18")}
    assert len({repr(pixels) for pixels in said.values()}) == 3
    found = {
        dataset(f"folder:{pictures}", normalize="imagenet", pixels=pixels).sha256
        for pixels in said.values()
    }
    assert len(found) == 3


def test_of_no_classifier_the_mean_is_known_and_no_pixels() -> None:
    # A detector normalises what it is given.
    assert (of_torchvision("fasterrcnn_resnet50_fpn").mean, of_torchvision("ssd300_vgg16").std) == (
        (0.0,),
        (1.0,),
    )
    said = of_torchvision("fcn_resnet50")
    assert said.mean == (0.485, 0.456, 0.406)
    assert said.pixels is None


@pytest.mark.parametrize(
    "processor", ["EfficientNetImageProcessor", "MobileViTImageProcessor", "DetrImageProcessor"]
)
def test_a_processor_that_does_more_is_said(processor: str, tmp_path: Path) -> None:
    """One scales twice, one exchanges channels, one keeps the shape of the image."""
    transformers = pytest.importorskip("transformers")
    getattr(transformers, processor)().save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"which is not done here"):
        assert of_hugging_face(tmp_path) is None


def test_a_damaged_processor_is_said(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert of_hugging_face(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.warns(UserWarning, match=r"which is not done here"):
        assert of_hugging_face(tmp_path) is None


def test_a_processor_of_huge_images_takes_no_memory(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    side = {"height": 1 << 20, "width": 1 << 20}
    transformers.ViTImageProcessor(size=side).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"are too large to be meant, which is not done here"):
        assert of_hugging_face(tmp_path) is None


def test_timm_crops_that_are_not_done_are_said() -> None:
    pytest.importorskip("timm")
    settings = {"input_size": (3, 96, 96), "crop_mode": "border", "crop_pct": 1.0}
    model = type("Model", (), {"pretrained_cfg": settings})()
    with pytest.warns(UserWarning, match=r"timm crops 96×96 by border, bicubic, which is not done"):
        assert of_timm(model).pixels is None


def test_a_checkpoint_records_them(tmp_path: Path) -> None:
    pixels = Pixels((16, 16), 20, "bicubic", as_tensor=True)
    path = save_checkpoint(
        tmp_path / "m.pt",
        cifar(8),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
        preprocessing=Preprocessing((0.5,), (0.5,), (3, 16, 16), pixels),
    )
    found: Any = load(path).resanalysis
    assert found.preprocessing.pixels == pixels
    assert found.preprocessing.pixels.said_by == "recorded by the checkpoint"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"interpolation": "cubic"},
            r"pixels.interpolation should be a known one, found str cubic",
        ),
        ({"resized_as": 3}, r"pixels.resized_as should be tensor or picture"),
        ({"image_size": [16]}, r"pixels.image_size should be a height and a width"),
        ({"image_size": "16"}, r"pixels.image_size should be a list of numbers"),
        ({"resize": [1, 2, 3]}, r"pixels.image_size should be a height and a width"),
        ({"resize": 1.5}, r"pixels.resize should be a list of numbers"),
        ({"resize": 0}, r"pixels.resize should be whole numbers"),
        ({"resize": 60000}, r"pixels should be sides of 4096 or less"),
    ],
)
def test_a_damaged_record_is_said(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = save_checkpoint(
        tmp_path / "m.pt",
        cifar(8),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
        preprocessing=Preprocessing((0.5,), (0.5,), (3, 16, 16), Pixels((16, 16), 20)),
    )
    content = torch.load(path, weights_only=True)
    content["preprocessing"]["pixels"] |= changed
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_who_says_it(pictures: Path, tmp_path: Path) -> None:
    how = Reading(normalize="none")
    source = f"folder:{pictures}"
    with pytest.warns(
        UserWarning, match=r"nothing says which images m was made for: short side to 256"
    ):
        usual = data_for(ModelInfo("m"), source, how)
    assert usual.pixels == Pixels((224, 224), 256, "bilinear")
    small = data_for(ModelInfo("m", preprocessing=Preprocessing((0,), (1,), (3, 32, 32))), source)
    assert small.pixels == Pixels((32, 32), 32)
    assert small.pixels.said_by == "the size that the model records"
    recorded = ModelInfo("m", preprocessing=of_torchvision("resnet50"))
    said = data_for(recorded, source, Reading(image_size=288, interpolation="bicubic"))
    assert said.pixels == Pixels((288, 288), 298, "bicubic")  # 288 · 232 / 224
    assert said.pixels.said_by == (
        "--image-size, --interpolation, torchvision's ResNet50_Weights.IMAGENET1K_V2"
    )
    every = data_for(ModelInfo("m"), source, Reading(
        normalize="none", image_size=96, crop=1.0, interpolation="nearest"))  # fmt: skip
    assert every.pixels == Pixels((96, 96), 96, "nearest")
    assert every.pixels.said_by == "--image-size, --crop, --interpolation"
