"""Every kind of file loads, and nothing in it runs; each error says what was wrong and what to do."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from resanalysis.checkpoint import (
    CheckpointError,
    ModelInfo,
    Preprocessing,
    load,
    read_checkpoint,
    save_checkpoint,
    submodule_of,
)
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.models.recognise import Architecture, architecture_named, recognised
from tests.conftest import cifar


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "net", "nested"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_state_dicts_of_cifar_resnets_are_recognised(
    tmp_path: Path, version: int, shortcut: str, wrap: str, prefix: str
) -> None:
    model = cifar(14, version=version, shortcut=shortcut)
    state = {prefix + key: value for key, value in model.state_dict().items()}
    content = {
        "bare": state,
        "nested": {"state_dict": {"model": state}, "epoch": 3},
    }.get(wrap, {wrap: state, "best_prec1": 91.7})
    file = tmp_path / "m.th"
    torch.save(content, file)
    loaded = load(file)
    assert same(loaded, model)
    assert not loaded.training
    info = loaded.resanalysis
    assert isinstance(info, ModelInfo)
    assert info.architecture == ("resnet14v2" if version == 2 else "resnet14")


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnext50_32x4d",
        "wide_resnet50_2",
    ],
)
def test_torchvision_resnets_are_recognised_from_shapes(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, num_classes=12)
    found = recognised(model.state_dict())
    assert found == Architecture(f"torchvision:{name}", {"num_classes": 12})


def test_other_names_for_the_same_tensors(tmp_path: Path) -> None:
    model = cifar(14, shortcut="B")
    state = {
        key.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for key, value in model.state_dict().items()
    }
    torch.save(state, tmp_path / "m.pt")
    assert same(load(tmp_path / "m.pt"), model)


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = cifar(8)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors"), model)
    (tmp_path / "bad.safetensors").write_bytes(b"\x08" * 40)
    with pytest.raises(CheckpointError, match=r"bad.safetensors is damaged"):
        load(tmp_path / "bad.safetensors")


def test_exported_program(tmp_path: Path) -> None:
    model, x = cifar(8), torch.randn(2, 3, 16, 16)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "m.pt2")
    loaded = load(tmp_path / "m.pt2")
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model(x))
    (tmp_path / "bad.pt2").write_bytes(b"zip?")
    with pytest.raises(CheckpointError, match=r"bad.pt2 is no readable torch.export archive"):
        load(tmp_path / "bad.pt2")


def test_our_own_checkpoint(tmp_path: Path) -> None:
    model = CifarResNet(8, width=4, classes=3)
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), (3, 16, 16))
    architecture = Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 3})
    path = save_checkpoint(
        tmp_path / "sub" / "m.pt", model, architecture=architecture,
        preprocessing=preprocessing, classes=["a", "b", "c"], half=True, seed=7,
    )  # fmt: skip
    loaded = load(path)
    info = loaded.resanalysis
    assert isinstance(info, ModelInfo)
    assert info.preprocessing == preprocessing
    assert info.classes == ("a", "b", "c")
    assert read_checkpoint(path)["seed"] == 7
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-4)
    assert all(value.dtype is not torch.float16 for value in loaded.state_dict().values())
    assert not list(path.parent.glob("*.partial"))


def test_the_bundled_network_is_what_it_says() -> None:
    info = load("bundled:resnet56-fashion-mnist").resanalysis
    assert isinstance(info, ModelInfo)
    assert info.architecture == "resnet56v2"
    with pytest.raises(
        CheckpointError, match=r"no model bundled:x ships; there are resnet56-fashion"
    ):
        load("bundled:x")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_with_side_effects_does_not_run(tmp_path: Path, writer: str) -> None:
    target, file = tmp_path / "ran", tmp_path / "evil.pt"
    if writer == "pickle":
        file.write_bytes(pickle.dumps(Malicious(target)))
    else:
        torch.save({"state_dict": Malicious(target)}, file)
    with pytest.raises(
        CheckpointError, match=r"evil.pt holds more than weights .*nothing of it was run"
    ):
        load(file)
    assert not target.exists()


def test_a_pickled_module_needs_trust(tmp_path: Path) -> None:
    model = cifar(8)
    torch.save(model, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="--trust-pickle"):
        load(tmp_path / "m.pt")
    assert same(load(tmp_path / "m.pt", trust_pickle=True), model)


def test_random_bytes_and_truncation(tmp_path: Path) -> None:
    (tmp_path / "r.pt").write_bytes(os.urandom(20_000))
    with pytest.raises(CheckpointError, match=r"r.pt is no readable checkpoint \(20,000 bytes\)"):
        load(tmp_path / "r.pt")
    torch.save(cifar(8).state_dict(), tmp_path / "whole.th")
    content = (tmp_path / "whole.th").read_bytes()
    (tmp_path / "t.th").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"t.th is no readable checkpoint .* truncated"):
        load(tmp_path / "t.th")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"empty.pt is no readable checkpoint \(0 bytes"):
        load(tmp_path / "empty.pt")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no file .*none.pt; a model is a file, or bundled"
    ):
        load(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder; a Hugging Face folder is named hf:"):
        load(tmp_path)


def test_wrong_architecture_names_the_first_mismatch(tmp_path: Path) -> None:
    torch.save(cifar(14).state_dict(), tmp_path / "m.th")
    with pytest.raises(
        CheckpointError,
        match=r"cannot load m.th as resnet20: 30 of 97 tensors are missing, first layer1.2.conv1.weight. "
        r"Try --arch resnet14.",
    ):
        load(tmp_path / "m.th", arch="resnet20")
    with pytest.raises(CheckpointError, match=r"no CIFAR ResNet has depth 57: .* nearest is 56"):
        load(tmp_path / "m.th", arch="resnet57")
    state = cifar(14).state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(4, 4, 1, 1)
    torch.save(state, tmp_path / "s.th")
    with pytest.raises(
        CheckpointError,
        match=r"1 have another shape, first layer1.0.conv1.weight: \(4, 4, 1, 1\) in the file, \(4, 4, 3, 3\)",
    ):
        load(tmp_path / "s.th")


def test_unknown_tensors_and_no_tensors(tmp_path: Path) -> None:
    torch.save({"alpha": torch.zeros(2), "beta": torch.zeros(2)}, tmp_path / "u.pt")
    with pytest.raises(
        CheckpointError, match=r"not recognised from its 2 tensors \(alpha, beta, …\)"
    ):
        load(tmp_path / "u.pt")
    torch.save({"epoch": 3}, tmp_path / "n.pt")
    with pytest.raises(
        CheckpointError, match=r"holds no state dict but a dict with the keys epoch"
    ):
        load(tmp_path / "n.pt")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    model = cifar(8)
    with torch.no_grad():
        model.layer2[0].conv1.weight[0, 0, 0, 0] = float("nan")  # type: ignore[index, union-attr]
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"1 of 288 values of layer2.0.conv1.weight are NaN"):
        load(tmp_path / "m.pt")


def test_parts_of_a_model() -> None:
    model = nn.ModuleDict({"backbone": cifar(8), "head": nn.Linear(2, 2)})
    assert submodule_of(model, "backbone.layer1") is model["backbone"].layer1
    with pytest.raises(CheckpointError, match=r"no part 'backbon'; there are backbone"):
        submodule_of(model, "backbon")


def test_names_of_libraries() -> None:
    with pytest.warns(UserWarning, match="resnet18 has random weights"):
        assert isinstance(load("torchvision:resnet18?weights=none"), torchvision.models.ResNet)
    with pytest.raises(
        CheckpointError, match=r"torchvision has no model 'resnet19'; near it: resnet"
    ):
        load("torchvision:resnet19")
    with pytest.raises(CheckpointError, match=r"\?weights=maybe is not known"):
        load("torchvision:resnet18?weights=maybe")


def make_model() -> nn.Module:
    return cifar(8)


def test_a_users_own_factory() -> None:
    assert same(load("python:tests.test_checkpoint:make_model"), cifar(8))
    with pytest.raises(CheckpointError, match=r"tests.test_checkpoint has no function absent"):
        load("python:tests.test_checkpoint:absent")
    with pytest.raises(CheckpointError, match=r"not a torch\.nn\.Module"):
        load("python:builtins:dict")


def test_depths_of_torchvision_are_torchvisions() -> None:
    assert architecture_named("resnet50").name == "torchvision:resnet50"
    assert architecture_named("cifar_resnet50").options["depth"] == 50
    assert architecture_named("resnet110v2").options == {"depth": 110, "version": 2}
