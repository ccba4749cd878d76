"""Labels of ImageNet in the layouts people have it in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resanalysis.datasets import DataError, Dataset, dataset
from resanalysis.datasets.labels import read_labels
from resanalysis.measures.chance import chance_error

TENCH, GOLDFISH, TOILET = "n01440764", "n01443537", "n15075141"
VALIDATION = "ILSVRC2012_val_0000000{}.JPEG"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), "red").save(path, format="JPEG")


def labelled(folder: Path, labels: str | Path) -> Dataset:
    return dataset(f"folder:{folder}", normalize="none", image_size=8, labels=labels)


def numbers(data: Dataset) -> list[int]:
    assert data.labels is not None
    return data.labels.tolist()


@pytest.fixture
def synsets(tmp_path: Path) -> Path:
    """Two of the thousand folders, the second of which is the last class."""
    for name in (GOLDFISH, TOILET):
        picture(tmp_path / "val" / name / f"{name}_1.JPEG")
    return tmp_path / "val"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        picture(tmp_path / "val" / VALIDATION.format(number))
    return tmp_path / "val"


def test_synset_folders_are_the_models_classes(synsets: Path) -> None:
    assert numbers(dataset(f"folder:{synsets}", normalize="none", image_size=8)) == [0, 1]
    data = labelled(synsets, "imagenet")
    assert numbers(data) == [1, 999]
    assert data.classes is not None
    assert (data.classes[1], data.classes[999]) == ("goldfish", "toilet tissue")
    one = dataset(f"folder:{synsets / GOLDFISH}", normalize="none", image_size=8, labels="imagenet")
    assert numbers(one) == [1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("synset_words.txt", f"{TENCH} tench, Tinca tinca\n{GOLDFISH} goldfish\n{TOILET} tissue\n"),
        ("synsets.txt", f"{TENCH}\n{GOLDFISH}\n{TOILET}\n"),
        ("imagenet_class_index.json",
         json.dumps({"0": [TENCH, "tench"], "2": [TOILET, "tissue"], "1": [GOLDFISH, "goldfish"]})),
        ("class_to_idx.json", json.dumps({TENCH: 0, TOILET: 2, GOLDFISH: 1})),
    ],
)  # fmt: skip
def test_classes_in_the_order_of_a_file(
    synsets: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert numbers(labelled(synsets, tmp_path / name)) == [1, 2]


def test_training_images_in_one_folder_keep_their_synset(tmp_path: Path) -> None:
    picture(tmp_path / "all" / f"{TOILET}_77.JPEG")
    picture(tmp_path / "all" / f"{TENCH}_9.JPEG")
    assert numbers(labelled(tmp_path / "all", "imagenet")) == [0, 999]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "".join(f"{VALIDATION.format(n)} {label}\n" for n, label in ((2, 0), (1, 65), (3, 9)))),
        ("val.csv", "".join(f"val/{VALIDATION.format(n)},{label}\n" for n, label in ((2, 0), (1, 65), (3, 9)))),
        ("numbers.txt", "65\n0\n9\n"),
    ],
)  # fmt: skip
def test_classes_by_file(flat: Path, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert numbers(labelled(flat, tmp_path / name)) == [65, 0, 9]


def test_kaggles_solution(flat: Path, tmp_path: Path) -> None:
    rows = ["ImageId,PredictionString"]
    rows += [f"{VALIDATION[:-5].format(3)},{TOILET} 85 1 499 272"]
    rows += [f"{VALIDATION[:-5].format(2)},{TENCH} 1 2 3 4 {TENCH} 5 6 7 8"]
    rows += [f"{VALIDATION[:-5].format(1)},{GOLDFISH} 1 2 3 4"]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(rows))
    assert numbers(labelled(flat, tmp_path / "LOC_val_solution.csv")) == [1, 0, 999]


def test_real_labels(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps([[3, 1], [], [2]]))
    data = labelled(flat, tmp_path / "real.json")
    assert data.subset == "the 2 of 3 with a label"
    assert numbers(data) == [3, 2]
    _, labels = data.batch(0, 2)
    assert labels is not None
    expected = torch.tensor([[False, True, False, True], [False, False, True, False]])
    assert torch.equal(labels, expected)
    assert chance_error(data) == 0.5
    half = data.limited(1)
    assert half.accepted is not None
    assert half.accepted.shape == (1, 4)
    assert half.sha256 != data.sha256


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (f"{TENCH}\n", r"says nothing of 2 of the 2 images in .*val, first n01443537/n01443537_1.JP"),
        (f"{TENCH}\n{TENCH}\n", r"names a class twice; known are"),
        ("", r"is no file of labels; known are"),
        ("a.JPEG n99999999\n", r"n99999999 is none of ImageNet's 1,000 synsets"),
        ("\n".join(str(n) for n in range(1, 1001)), r"classes run from 1 to 1000, as in the develop"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(synsets: Path, tmp_path: Path, labels: str, message: str) -> None:
    (tmp_path / "labels.txt").write_text(labels)
    with pytest.raises(DataError, match=message):
        labelled(synsets, tmp_path / "labels.txt")


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"a": [1]}', "[" * 100_000, '[["a"]]', "null"])
def test_json_that_holds_no_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DataError, match=r"is no file of labels; known are"):
        read_labels(str(tmp_path / "labels.json"))


def test_parts_are_no_classes(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "a.jpg")
    picture(tmp_path / "val" / "cat" / "a.jpg")
    for labels in (None, "imagenet"):
        with pytest.raises(
            DataError, match=r"holds train, val, the parts of a data set; name one, such as fol"
        ):
            dataset(f"folder:{tmp_path}", normalize="none", labels=labels)


@pytest.mark.parametrize(
    ("option", "value"),
    [("labels", "imagenet"), ("image_size", 8), ("crop", 0.9), ("interpolation", "bicubic")],
)
def test_what_is_said_of_files_is_refused_of_arrays(
    tmp_path: Path, option: str, value: object
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8) + 9, labels=[0, 1])
    name = option.replace("_", "-")
    with pytest.raises(DataError, match=rf"--{name} is for files of images, folder:DIR, and these"):
        dataset(str(tmp_path / "a.npz"), normalize="none", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("image_size", 0, r"images of 0 pixels are empty"),
        ("crop", 0.0, r"a crop of 0 is no share"),
        ("crop", 1.5, r"a crop of 1.5 is no share"),
        ("interpolation", "cubic", r"no interpolation 'cubic'; there are nearest, bilinear"),
    ],
)
def test_pixels_that_are_none(synsets: Path, option: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(f"folder:{synsets}", normalize="none", **{option: value})  # type: ignore[arg-type]
