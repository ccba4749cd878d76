"""Tensors under another author's names are taken by their order, where it can be trusted."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resanalysis.checkpoint import CheckpointError, load
from tests.conftest import cifar

MODEL = cifar(8, shortcut="B")


def foreign() -> dict[str, Tensor]:
    """The model's tensors as another author would call them, and without counters."""
    state = {key: value for key, value in MODEL.state_dict().items() if "num_batches" not in key}
    return {f"features.{n}.{key.rpartition('.')[2]}": v for n, (key, v) in enumerate(state.items())}


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


def test_the_order_is_offered_and_taken(tmp_path: Path) -> None:
    # Width, classes and shortcuts cannot be read off foreign names, so an ordinary network is written.
    from resanalysis.models.cifar_resnet import CifarResNet

    model = CifarResNet(8).eval()
    state = {
        f"a{n}.{k.rpartition('.')[2]}": v for n, (k, v) in enumerate(model.state_dict().items())
    }
    path = saved(tmp_path / "m.pt", state)
    with pytest.raises(
        CheckpointError, match=r"under other names: --remap takes them in that order"
    ):
        load(path, arch="resnet8")
    with pytest.warns(
        UserWarning, match=r"tensors were taken in their order, first a0.weight → conv1"
    ):
        loaded = load(path, arch="resnet8", remap=True)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.save(model.state_dict(), path)
        load(path, arch="resnet8", remap=True)  # names that fit need no order


def test_what_no_order_can_tell_is_counted(tmp_path: Path) -> None:
    """Two layers of one shape are exchanged: it loads, and the warning says for how many that is so."""
    from resanalysis.models.cifar_resnet import CifarResNet

    state = {k: v for k, v in CifarResNet(8).state_dict().items() if "num_batches" not in k}
    tensors = list(state.items())
    alike = sum(
        any(
            one != other
            and one.rpartition(".")[2] == other.rpartition(".")[2]
            and state[one].shape == state[other].shape
            for other in state
        )
        for one in state
    )
    names = [name for name, _ in tensors]
    one, other = names.index("layer1.0.conv1.weight"), names.index("layer1.0.conv2.weight")
    tensors[one], tensors[other] = tensors[other], tensors[one]
    foreign = {f"a{n}.{key.rpartition('.')[2]}": value for n, (key, value) in enumerate(tensors)}
    path = saved(tmp_path / "m.pt", foreign)
    with pytest.warns(
        UserWarning, match=rf"; {alike} of them have another of their kind and shape"
    ):
        load(path, arch="resnet8", remap=True)
    assert 0 < alike < len(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("swap", r"a2.bias would be bn1.weight, and a bias is no weight"),
        ("negative", r"would be bn1.running_var, and a variance is not negative"),
        ("shape", r"a0.weight would be conv1.weight, and its shape is \(16, 3, 1, 1\), not \(16, 3, 3, 3\)"),
        ("fewer", r"it has 36 tensors, the model 37"),
        ("whole", r"and it holds int64, not floats"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_right_is_refused(
    tmp_path: Path, change: str, message: str
) -> None:
    from resanalysis.models.cifar_resnet import CifarResNet

    state = {
        f"a{n}.{key.rpartition('.')[2]}": value
        for n, (key, value) in enumerate(CifarResNet(8).state_dict().items())
    }
    keys = list(state)
    if change == "swap":
        keys[1], keys[2] = keys[2], keys[1]
        state = {key: state[key] for key in keys}
    elif change == "negative":
        state[keys[4]] = -torch.ones_like(state[keys[4]])
    elif change == "shape":
        state[keys[0]] = torch.zeros(16, 3, 1, 1)
    elif change == "fewer":
        del state[keys[-1]]
    else:
        state[keys[0]] = state[keys[0]].long()
    path = saved(tmp_path / "m.pt", state)
    with pytest.raises(CheckpointError, match=rf"--remap cannot take .*{message}"):
        load(path, arch="resnet8", remap=True)
    with pytest.raises(CheckpointError, match=r"cannot load m.pt as resnet8") as caught:
        load(path, arch="resnet8")
    assert "--remap" not in str(caught.value)


def test_a_format_without_order(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(foreign(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"a .safetensors file keeps no order"):
        load(tmp_path / "m.safetensors", arch="resnet8", remap=True)
