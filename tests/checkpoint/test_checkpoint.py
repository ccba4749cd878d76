"""Every kind of file loads, and nothing in it runs; each error says what was wrong and what to do."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from resanalysis.checkpoint import (
    CheckpointError,
    ModelInfo,
    Preprocessing,
    check_fit,
    load,
    read_checkpoint,
    save_checkpoint,
    submodule_of,
)
from resanalysis.datasets import DataError
from resanalysis.models.architecture import Architecture
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.models.names import architecture_named
from resanalysis.models.recognise import recognised
from resanalysis.run.reading import Reading
from resanalysis.run.subject import load_subject
from tests.conftest import cifar, reads_archives


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


@reads_archives
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
        CheckpointError, match=r"no model bundled:x ships; there are .*resnet56-fashion"
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
    assert same(load("python:tests.checkpoint.test_checkpoint:make_model"), cifar(8))
    with pytest.raises(
        CheckpointError, match=r"tests.checkpoint.test_checkpoint has no function absent"
    ):
        load("python:tests.checkpoint.test_checkpoint:absent")
    with pytest.raises(CheckpointError, match=r"not a torch\.nn\.Module"):
        load("python:builtins:dict")


def checkpoint_of(path: Path, **changed: Any) -> Path:
    """Our own kind of checkpoint with some of its fields replaced; ``...`` leaves one out."""
    architecture = Architecture("cifar_resnet", {"depth": 8, "width": 4})
    save_checkpoint(path, CifarResNet(8, width=4), architecture=architecture)
    content = torch.load(path, weights_only=True) | changed
    torch.save({key: value for key, value in content.items() if value is not ...}, path)
    return path


def options(name: str = "cifar_resnet", **values: Any) -> dict[str, Any]:
    return {"architecture": {"name": name, "options": values}}


def normalised(**values: Any) -> dict[str, Any]:
    return {"preprocessing": {"mean": [0.5], "std": [0.5], **values}}


DAMAGED = "own.pt is a damaged resanalysis checkpoint: its "


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": ...}, DAMAGED + "architecture should be a name and options, found nothing"),
        ({"architecture": "x"}, DAMAGED + "architecture should be a name and options, found str x"),
        ({"architecture": {"name": 3}}, DAMAGED + "architecture.name should be a text, found int 3"),
        ({"architecture": {"name": "a", "options": [1]}}, DAMAGED + "architecture.options should be"),
        (options(), DAMAGED + "architecture.options.depth should be a whole number, found nothing"),
        (options(depth=9), r"own.pt: a CIFAR ResNet has depth 6n \+ 2 .*, got 9"),
        (options(depth=6 * 10**9 + 2), r"own.pt records 6000000002 layers and holds 44 tensors; it is"),
        (options(depth="x"), r"own.pt: cifar_resnet cannot be made with depth='x': TypeError"),
        (options(depth=8, classes=-1), r"own.pt: cifar_resnet cannot be made with depth=8, classes=-1"),
        (options(depth=8, wide=1), r"own.pt: cifar_resnet cannot be made with .*wide=1.*unexpected"),
        (options("nothing"), r"own.pt: torchvision has no model 'nothing'"),
        (options("torchvision:resnet18", weights_backbone="DEFAULT"), r"option weights_backbone='DEFAULT', wh"),
        (options("timm:resnet18", checkpoint_path="/x"), r"checkpoint_path='/x', which would read something"),
        ({"state_dict": ...}, DAMAGED + "state_dict should be tensors, found nothing"),
        ({"state_dict": {}}, DAMAGED + "state_dict should be tensors by name, found dict {}"),
        ({"state_dict": {"a": "b"}}, DAMAGED + "state_dict should be tensors by name, found dict {'a'"),
        ({"version": 2}, r"own.pt is a checkpoint of version 2, this resanalysis reads version 1; update"),
        ({"preprocessing": [1]}, DAMAGED + r"preprocessing should be mean and std, found list \[1\]"),
        (normalised(std=...), DAMAGED + r"preprocessing.std should be a list of numbers, found ellipsis"),
        (normalised(mean="abc"), DAMAGED + "preprocessing.mean should be a list of numbers, found str"),
        (normalised(mean=[]), DAMAGED + "preprocessing.mean should be a list of numbers, found list"),
        (normalised(mean=[float("nan")]), DAMAGED + "preprocessing.mean should be a list of numbers"),
        (normalised(std=[0.0]), DAMAGED + "preprocessing.std should be numbers above 0, found list"),
        (normalised(input_size=[3, -1, 2]), DAMAGED + "preprocessing.input_size should be whole numbers"),
        ({"classes": "abc"}, DAMAGED + "classes should be a list of names, found str abc"),
        ({"classes": [1]}, DAMAGED + "classes should be a list of names, found list"),
    ],
)  # fmt: skip
def test_our_own_checkpoint_with_something_wrong(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    changed = {
        key: {k: v for k, v in value.items() if v is not ...}
        if key == "preprocessing" and isinstance(value, dict) else value
        for key, value in changed.items()
    }  # fmt: skip
    path = checkpoint_of(tmp_path / "own.pt", **changed)
    with pytest.raises(CheckpointError, match=message.replace("found ellipsis", "found nothing")):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.to(torch.complex64), r"layer1.0.conv1.weight is complex \(complex64\); only ordinary"),
        (lambda w: w.to_sparse(), r"layer1.0.conv1.weight is sparse \(float32\); only ordinary tensors"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), r"weight is quantised \(qint8\);"),
        (lambda w: w.to("meta"), r"layer1.0.conv1.weight is without values \(on the meta device\)"),
        (lambda w: w.int(), r"floats are expected and int32 is found in 1, first layer1.0.conv1.weight"),
        (lambda w: w.bool(), r"floats are expected and bool is found in 1, first layer1.0.conv1.weight"),
        (lambda w: None, r"1 of 37 tensors are missing, first layer1.0.conv1.weight"),
        (lambda w: "text", r"1 of 37 tensors are missing, first layer1.0.conv1.weight"),
        (lambda w: w * torch.inf, r"144 of 144 values of layer1.0.conv1.weight are NaN or infinite"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_values_that_are_no_weights(
    tmp_path: Path, change: Callable[[Tensor], Any], message: str
) -> None:
    state: dict[str, Any] = dict(CifarResNet(8, width=4).state_dict())
    state["layer1.0.conv1.weight"] = change(state["layer1.0.conv1.weight"])
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=rf"m\.pt.*{message}"):
        load(tmp_path / "m.pt")


def test_halves_and_doubles_are_weights(tmp_path: Path) -> None:
    model = CifarResNet(8, width=4)
    for dtype, tolerance in ((torch.float64, 0.0), (torch.float16, 1e-3)):
        state = {
            k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()
        }
        torch.save(state, tmp_path / "m.pt")
        for key, value in load(tmp_path / "m.pt").state_dict().items():
            torch.testing.assert_close(
                value, model.state_dict()[key], rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([1, 2], "a value of type list"),
        (torch.zeros(3), "a value of type Tensor"),
        (None, r"nothing \(None\)"),
        ({}, "an empty dict"),
        ({"state_dict": {}}, "a dict with the keys state_dict"),
        ({"module.": 3}, "a dict with the keys module."),
    ],
)
def test_files_that_hold_no_state_dict(tmp_path: Path, content: Any, what: str) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=rf"m\.pt holds no state dict but {what}$"):
        load(tmp_path / "m.pt")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"/dev/null is no regular file"):
        load("/dev/null")
    path = checkpoint_of(tmp_path / "m.pt")

    def refuse(self: Path, mode: str = "r") -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    for read in (load, read_checkpoint):
        with pytest.raises(
            CheckpointError, match=r"m.pt cannot be read: permission denied; check its permissions"
        ):
            read(path)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_torchscript_is_a_program(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(
        CheckpointError, match=r"m.pt is a TorchScript archive.*nothing of it was run"
    ):
        load(tmp_path / "m.pt")


def test_arch_of_what_says_itself_what_it_is(tmp_path: Path) -> None:
    own = checkpoint_of(tmp_path / "own.pt")
    assert same(load(own, arch="resnet8"), load(own))
    with pytest.raises(
        CheckpointError,
        match=r"own.pt records that it is resnet8, and --arch says resnet14; leave --arch out",
    ):
        load(own, arch="resnet14")
    torch.save(cifar(8), tmp_path / "whole.pt")
    (tmp_path / "m.pt2").write_bytes(b"")
    for what, reason in (
        ("torchvision:resnet18?weights=none", "is a name, which says what model it is"),
        (
            "python:tests.checkpoint.test_checkpoint:make_model",
            "is a name, which says what model it is",
        ),
        (tmp_path / "m.pt2", "is an exported archive, which brings its own graph"),
        (tmp_path / "whole.pt", "is a pickled CifarResNet"),
    ):
        with pytest.raises(
            CheckpointError,
            match=rf"--arch resnet8 is for state dicts, and {re.escape(str(what))} {reason}; leave",
        ):
            load(what, arch="resnet8", trust_pickle=True)
    assert isinstance(load("bundled:resnet56-fashion-mnist", arch="resnet56v2"), CifarResNet)
    with pytest.raises(CheckpointError, match=r"records that it is resnet56v2"):
        load("bundled:resnet56-fashion-mnist", arch="resnet56")


def broken_factory() -> nn.Module:
    raise RuntimeError("no weights here")


def test_a_factory_that_fails() -> None:
    with pytest.raises(
        CheckpointError, match=r"broken_factory\(\) raised RuntimeError: no weights here"
    ):
        load("python:tests.checkpoint.test_checkpoint:broken_factory")
    with pytest.raises(CheckpointError, match=r"python::f: write package.module:function"):
        load("python::f")


def test_a_hugging_face_folder_that_names_no_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for content, reason in (
        ("{", "OSError"),
        (
            '{"model_type": "gpt2", "architectures": ["pipeline"]}',
            "'pipeline' is no model of transformers",
        ),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=rf"hf:.* cannot be loaded: .*{reason}"):
            load(f"hf:{tmp_path}")


def test_input_that_does_not_fit() -> None:
    grey = torch.zeros(3, 1, 28, 28)
    with pytest.raises(
        DataError,
        match=r"m.th cannot be called with d: it gives images of 1×28×28, and the model takes images of 3 "
        r"channels \(RuntimeError: Given groups.*\)\. Give it images of 3 channels",
    ):
        check_fit(cifar(8), grey, None, "m.th", "d")
    info = ModelInfo("m", None, Preprocessing((0.5,), (0.5,), (3, 32, 32)))
    with pytest.raises(
        DataError,
        match=r"takes images of 3×32×32 .*of that shape; folder:DIR with --image-size 32 reads images so$",
    ):
        check_fit(cifar(8), grey, info, "m", "d")
    vit = torchvision.models.VisionTransformer(32, 16, 1, 1, 8, 8, num_classes=2).eval()
    with pytest.raises(
        DataError, match=r"images of 3×28×28, and the model takes images of 3×32×32 .*Wrong image h"
    ):
        check_fit(vit, torch.zeros(3, 3, 28, 28), None, "m", "d")
    words = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
    with pytest.raises(
        DataError, match=r"takes token ids below 7 .*Give it --data tokens:FILE.npz"
    ):
        check_fit(words, grey, None, "m", "d")
    with pytest.raises(
        DataError, match=r"token ids, 5 a sequence, and the model takes images of 3 ch"
    ):
        check_fit(cifar(8), {"input_ids": torch.zeros(2, 5).long()}, None, "m", "d")
    check_fit(cifar(8), torch.zeros(3, 3, 28, 28), None, "m", "d")


def test_data_that_does_not_fit_is_named_before_anything_is_unraveled(tmp_path: Path) -> None:
    file = tmp_path / "colour.npz"
    np.savez(file, images=np.zeros((4, 3, 28, 28), np.uint8), labels=np.arange(4))
    with pytest.raises(
        DataError,
        match=rf"bundled:resnet56-fashion-mnist cannot be called with {file}: it gives images of 3×28×28, "
        r"and the model takes images of 1×28×28",
    ):
        load_subject("bundled:resnet56-fashion-mnist", str(file))
    with pytest.raises(DataError, match=r"with --input-shape: it gives images of 2×28×28"):
        load_subject("bundled:resnet56-fashion-mnist", None, Reading(input_shape=(2, 28, 28)))


@reads_archives
def test_an_archive_of_one_batch_size(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(cifar(8), (torch.randn(1, 3, 8, 8),)), tmp_path / "m.pt2")
    loaded = load(tmp_path / "m.pt2")
    with pytest.raises(DataError, match=r"Export it again for any batch size: dynamic_shapes with"):
        check_fit(loaded, torch.zeros(3, 3, 8, 8), None, "m.pt2", "d")
    with pytest.raises(
        DataError, match=r"the model takes images of 3×8×8 \(RuntimeError: Expected inp"
    ):
        check_fit(loaded, torch.zeros(1, 1, 8, 8), None, "m.pt2", "d")


def test_depths_of_torchvision_are_torchvisions() -> None:
    assert architecture_named("resnet50").name == "torchvision:resnet50"
    assert architecture_named("cifar_resnet50").options["depth"] == 50
    assert architecture_named("resnet110v2").options == {"depth": 110, "version": 2}


def test_a_module_that_is_not_there_is_told_from_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needs_other.py").write_text("import not_there_either\n")
    with pytest.raises(
        ValueError, match="there is no module not_there in the current folder, on PYTHON"
    ):
        load("python:not_there:f")
    own = r"importing needs_other raised .*'not_there_either' \(needs_other.py, line 1: import not_there"
    with pytest.raises(ValueError, match=own):
        load("python:needs_other:f")


def test_a_cut_file_and_one_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(cifar(8).state_dict(), path)
    whole = path.read_bytes()
    for kept in (5000, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:kept])
        with pytest.raises(
            CheckpointError, match=r"its end is missing\); copy or download it again"
        ):
            load(path)
    path.write_text("hello")  # of which torch says 101
    with pytest.raises(
        CheckpointError, match=r"another kind \(not a file torch.save wrote\); copy"
    ):
        load(path)
