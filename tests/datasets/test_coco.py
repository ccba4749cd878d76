"""Images and annotations in COCO's layouts, and files that nobody vouches for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import resanalysis as ra


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 6, "width": 8},
            {"id": 4, "file_name": "a.png", "height": 5, "width": 7},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 18, "bbox": [1, 2, 3, 4], "area": 11, "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 2.5, 2], "iscrowd": 1},
        ],
    }  # fmt: skip


def written(folder: Path, images: str, annotations: str, values: Any = None) -> Path:
    place = folder / images
    place.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "b.png")
    Image.fromarray(pixels[:5, :7, 0]).save(place / "a.png")
    file = folder / annotations
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content() if values is None else values))
    return folder


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images", "annotations.json"),
        (".", "_annotations.coco.json"),
        ("val2017", "annotations/instances_val2017.json"),
        ("images/val2017", "annotations/instances_val2017.json"),
        ("data", "annotations/mine.json"),
    ],
)
def test_the_usual_layouts(tmp_path: Path, images: str, annotations: str) -> None:
    folder = written(tmp_path / "d", images, annotations)
    for spec in (f"coco:{folder}", f"coco:{folder / annotations}"):
        data = ra.dataset(spec)
        assert len(data) == 2
        assert data.objects is not None
        assert [len(one) for one in data.objects] == [0, 2]  # by id, not as they are listed
        second = data.objects[1]
        np.testing.assert_array_equal(second.boxes, [[1, 2, 3, 4], [0, 0, 2.5, 2]])
        np.testing.assert_array_equal(second.labels, [18, 1])
        np.testing.assert_array_equal(second.areas, [11, 5])
        np.testing.assert_array_equal(second.crowd, [False, True])
        assert not data.one_size
        with pytest.raises(ra.DataError, match="images of 7×5 and of 8×6 do not fit one batch"):
            data.batch(0, 2)
        images_, labels = data.batch(1, 2)
        assert labels is None
        stored = np.asarray(Image.open(folder / images / "b.png")).transpose(2, 0, 1)
        np.testing.assert_allclose(images_[0], stored / np.float32(255))  # type: ignore[index]


def test_parts_keep_their_objects_and_have_their_own_digest(tmp_path: Path) -> None:
    data = ra.dataset(f"coco:{written(tmp_path, 'images', 'annotations.json')}")
    last = data.taken(np.array([1]), "the last")
    assert last.objects is not None
    assert data.objects is not None
    assert last.objects[0] is data.objects[1]
    assert last.one_size is data.one_size
    values = content()
    values["annotations"][0]["bbox"][0] = 1.5
    other = ra.dataset(f"coco:{written(tmp_path / 'b', 'images', 'annotations.json', values)}")
    assert other.sha256 != data.sha256
    normalised = ra.dataset(f"coco:{tmp_path}", mean=[0.5] * 3, std=[0.5] * 3)
    assert float(normalised.batch(0, 1)[0].min()) < 0  # type: ignore[union-attr]


def test_several_annotation_files_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path, "val2017", "annotations/instances_val2017.json")
    (folder / "annotations" / "captions_val2017.json").write_text("{}")
    assert len(ra.dataset(f"coco:{folder}")) == 2
    (folder / "annotations" / "instances_train2017.json").write_text("{}")
    with pytest.raises(ra.DataError, match=r"holds instances_train2017\.json, .*name one"):
        ra.dataset(f"coco:{folder}")


def test_what_is_missing_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(ra.DataError, match="is not there"):
        ra.dataset(f"coco:{tmp_path / 'none'}")
    with pytest.raises(ra.DataError, match=r"looked for annotations\.json, .*annotations/\*\.json"):
        ra.dataset(f"coco:{tmp_path}")
    folder = written(tmp_path, "elsewhere", "annotations.json")
    with pytest.raises(ra.DataError, match=r"b\.png|a\.png.* is in none of .*images"):
        ra.dataset(f"coco:{folder}")
    folder = written(tmp_path / "x", "images", "annotations.json")
    (folder / "images" / "b.png").unlink()
    with pytest.raises(ra.DataError, match=r"lists the image b\.png, which is not in"):
        ra.dataset(f"coco:{folder}")


def changed(part: str, place: int, **values: Any) -> dict[str, Any]:
    found = content()
    found[part][place] |= values
    return found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "no annotation file of COCO's kind"),
        ({"images": []}, "no annotation file of COCO's kind"),
        (content() | {"images": []}, "lists no images"),
        (content() | {"categories": []}, "lists no categories"),
        (content() | {"annotations": [3]}, "which is no record"),
        (changed("images", 0, id="9"), "id is 9 in"),
        (changed("images", 0, id=True), "id is True"),
        (changed("images", 0, width=10**6), "width is 1000000"),
        (changed("images", 0, height=0), "an image is 8×0"),
        (changed("images", 0, file_name=7), "file_name 7"),
        (changed("images", 0, file_name="b" * 5000), "which is not in"),
        (changed("images", 0, id=4), "two images with one id"),
        (changed("annotations", 0, image_id=5), "of which one is not listed"),
        (changed("annotations", 0, category_id=2), "of which one is not listed"),
        (changed("annotations", 0, bbox=[1, 2, 3]), "a bbox is"),
        (changed("annotations", 0, bbox=[1, 2, 3, float("nan")]), "a bbox is"),
        (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "a bbox is"),
        (changed("annotations", 0, area=[]), "an area is"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, values: Any, message: str) -> None:
    folder = written(tmp_path, "images", "annotations.json", values)
    with pytest.raises(ra.DataError, match=message) as caught:
        ra.dataset(f"coco:{folder}")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json(tmp_path: Path) -> None:
    folder = written(tmp_path, "images", "annotations.json")
    for text in ("{", "[" * 200_000, "\0"):
        (folder / "annotations.json").write_text(text)
        with pytest.raises(ra.DataError, match="no readable JSON"):
            ra.dataset(f"coco:{folder}")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "inside/../../secret.png"])
def test_no_image_outside_the_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "d", "images", "annotations.json")
    for place in (tmp_path, tmp_path / "d"):
        Image.new("RGB", (8, 6)).save(place / "secret.png")
    (folder / "images" / "inside").mkdir()
    (folder / "annotations.json").write_text(json.dumps(changed("images", 0, file_name=name)))
    with pytest.raises(ra.DataError, match="which is outside"):
        ra.dataset(f"coco:{folder}")


def test_no_link_leads_outside(tmp_path: Path) -> None:
    folder = written(tmp_path / "d", "images", "annotations.json")
    Image.new("RGB", (8, 6)).save(tmp_path / "secret.png")
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ra.DataError, match="which is outside"):
        ra.dataset(f"coco:{folder}")


def test_an_image_of_another_size_or_damaged(tmp_path: Path) -> None:
    folder = written(tmp_path, "images", "annotations.json")
    Image.new("RGB", (9, 6)).save(folder / "images" / "b.png")
    with pytest.raises(ra.DataError, match="it is 9×6, and its annotations say 8×6"):
        ra.dataset(f"coco:{folder}").batch(1, 2)
    (folder / "images" / "b.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ra.DataError, match="no readable image"):
        ra.dataset(f"coco:{folder}").batch(1, 2)
