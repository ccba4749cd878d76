"""Weights left in their files are those that are in them, and damaged files are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from resanalysis import CheckpointError, load
from resanalysis.checkpoint import stored_bytes
from resanalysis.checkpoint.mapped import mapped_files
from tests import language

TYPES = (
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
)


def test_tensors_of_every_type_are_as_the_library_reads_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {str(kind): (torch.randn(3, 5) * 9).to(kind) for kind in TYPES}
    tensors |= {"empty": torch.empty(0, 4), "scalar": torch.tensor(2.5)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected = load_file(tmp_path / "model.safetensors")
    files = mapped_files(tmp_path)
    assert set(files.tensors) == set(expected)
    for key, tensor in expected.items():
        found = files.tensors[key]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
    before = {key: tensor.clone() for key, tensor in files.tensors.items()}
    files.release()
    assert all(torch.equal(files.tensors[key], tensor) for key, tensor in before.items())
    assert "2.5" not in repr(files)  # showing them would read them all


def changed(path: Path, **changes: Any) -> None:
    """A file whose header says something else of the tensor ``w``."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["w"] |= changes
    told = json.dumps(header).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + content[8 + length :])


@pytest.mark.parametrize(
    "changes",
    [
        {"data_offsets": [0, 4000]},
        {"data_offsets": [-24, 0]},
        {"data_offsets": [4000, 4024]},
        {"data_offsets": "all"},
        {"shape": [2, 4]},
        {"shape": [-2, -3]},
        {"shape": [2**40, 2**40], "data_offsets": [0, 2**82]},
        {"dtype": "F4"},
        {"dtype": None},
    ],
)
def test_a_header_that_does_not_fit_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.ones(2, 3)}, path)
    changed(path, **changes)
    with pytest.raises(CheckpointError, match="damaged: its header does not fit it"):
        mapped_files(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"12345678", b"\xff" * 64, bytes(64), b"\x04" + bytes(60)]
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is (no safetensors|damaged)"):
        mapped_files(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("[]", "no index"),
        ("{", "no index"),
        (
            '{"weight_map": {"w": "../model.safetensors"}}',
            "names model.safetensors, which is not there",
        ),
        ('{"weight_map": {"w": "gone.safetensors"}}', "names gone.safetensors, which is not there"),
    ],
)
def test_an_index_names_files_of_its_folder(tmp_path: Path, index: str, said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")  # beside the folder
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=said):
        mapped_files(folder)


def test_a_folder_of_another_format_is_told(tmp_path: Path) -> None:
    folder = language.saved(tmp_path, language.gpt2(20), None)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has none: load the model once and save"):
        load(f"hf:{folder}", stream_weights=True)


def test_a_model_is_the_one_that_is_loaded_into_memory(tmp_path: Path) -> None:
    made = language.gpt2(20)  # its head is its embedding, which is stored once
    made.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    whole, left = load(f"hf:{tmp_path}"), load(f"hf:{tmp_path}", stream_weights=True)
    kept = left.resanalysis.files
    inside = {tensor.data_ptr() for tensor in kept.tensors.values()}
    assert all(weight.data_ptr() in inside for weight in left.parameters())
    assert left.resanalysis.sha256 == whole.resanalysis.sha256
    for key, tensor in whole.state_dict().items():
        assert torch.equal(left.state_dict()[key], tensor), key
    tokens = torch.arange(8)[None]
    assert torch.equal(left(tokens).logits, whole(tokens).logits)
    assert stored_bytes(f"hf:{tmp_path}") == sum(
        path.stat().st_size for path in tmp_path.glob("*.safetensors")
    )
    assert stored_bytes("bundled:resnet56-fashion-mnist") == 0


def test_weights_that_are_cast_as_they_are_loaded_are_refused(tmp_path: Path) -> None:
    language.saved(tmp_path, language.gpt2(20), None)
    config = json.loads((tmp_path / "config.json").read_text())
    name = "dtype" if "dtype" in config else "torch_dtype"
    (tmp_path / "config.json").write_text(json.dumps({**config, name: "bfloat16"}))
    with pytest.raises(CheckpointError, match=r"wte\.weight \(bfloat16\) is not in the files"):
        load(f"hf:{tmp_path}", stream_weights=True)


def test_nan_in_a_file_is_found(tmp_path: Path) -> None:
    model = language.gpt2(20)
    with torch.no_grad():
        model.transformer.wpe.weight[3, 1] = np.nan
    language.saved(tmp_path, model, None)
    with pytest.raises(CheckpointError, match=r"1 of 512 values of .*wpe"):
        load(f"hf:{tmp_path}", stream_weights=True)


def test_other_models_have_no_such_files() -> None:
    with pytest.raises(CheckpointError, match="bundled:resnet56-fashion-mnist is none"):
        load("bundled:resnet56-fashion-mnist", stream_weights=True)
