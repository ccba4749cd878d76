"""Effects on later units against forward passes written out, and a chain whose effects are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from tests.conftest import cifar
from tests.experiments.one_by_one import Kept, Plain, tiny_data, tiny_network

CONTRACT = ["skipped", "unit", "change_mean", "change_median", "change_max", "direct"]
NAMES = ["skipped_name", "name", "skipped_stage", "stage"]
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


class Chain(nn.Module):
    """``h + layer(h)`` again and again, and a linear readout without bias."""

    def __init__(self, layers: list[nn.Module], width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(width, width)
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, 5, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        h = self.stem(h)
        for layer in self.layers:
            h = h + layer(h)
        return self.head(h)


def factor(size: float, width: int = 6) -> nn.Module:
    layer = nn.Linear(width, width, bias=False)
    with torch.no_grad():
        layer.weight.copy_(size * torch.eye(width))
    return layer


class Rows:
    """Vectors, or sequences of vectors, as a data set."""

    name, subset = "rows", ""

    def __init__(self, *shape: int, mask: Tensor | None = None) -> None:
        self.x, self.mask = torch.randn(*shape, generator=torch.Generator().manual_seed(1)), mask

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, start: int, stop: int) -> tuple[Any, None]:
        x = self.x[start:stop]
        if self.mask is None:
            return x, None
        return {"h": x, "attention_mask": self.mask[start:stop]}, None


def measured(network: ResidualNetwork, data: Any, **options: Any) -> Any:
    return ra.effects(network, data, **options)


def blocks(model: nn.Module) -> list[Any]:
    return [block for stage in ("layer1", "layer2", "layer3") for block in getattr(model, stage)]


def branches_written_out(x: Tensor, skipped: int | None) -> tuple[list[Tensor], list[Tensor]]:
    """A CIFAR ResNet as a loop: the branch of every block, then the logits; and the stream before each."""
    model = cifar(14)
    found, streams = [], []
    with torch.no_grad():
        h = torch.relu(model.bn1(model.conv1(x)))
        for number, block in enumerate(blocks(model)):
            streams.append(h)
            found.append(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h))))))
            added = 0 if number == skipped else found[-1]
            h = torch.relu(block.shortcut(h) + added)
        return [*found, model.linear(h.mean((2, 3)))], [*streams, h]


def relative(changed: Tensor, intact: Tensor) -> list[float]:
    return [
        float(np.linalg.norm((a - b).numpy().ravel()) / np.linalg.norm(b.numpy().ravel()))
        for a, b in zip(changed, intact, strict=True)
    ]


def test_table_equals_the_model_written_out() -> None:
    data = tiny_data(7)
    frame = ra.effects(tiny_network(data), data, batch_size=3)
    assert list(frame.columns) == CONTRACT + NAMES
    x = data.batch(0, 7)[0]
    assert isinstance(x, Tensor)
    intact, streams = branches_written_out(x, None)
    rows = iter(frame.to_dict("records"))
    for skipped in range(6):
        changed, _ = branches_written_out(x, skipped)
        for earlier in range(skipped + 1):  # so that there is no row for them
            assert torch.equal(changed[earlier], intact[earlier])
        for later in range(skipped + 1, 7):
            row, expected = next(rows), relative(changed[later], intact[later])
            assert (row["skipped"], row["unit"]) == (skipped, later)
            found = [row["change_mean"], row["change_median"], row["change_max"]]
            by_hand = np.array([np.mean(expected), np.median(expected), max(expected)])
            np.testing.assert_allclose(found, by_hand, **TOLERANCE)
    assert next(rows, None) is None
    # Units 0 and 1 are the first run, 2 changes the shape; 4 does too, and 5 is before the head.
    model = blocks(cifar(14))[1]
    with torch.no_grad():
        without = torch.relu(streams[0])
        h = streams[1] - (streams[1] - without)
        branch = model.bn2(model.conv2(torch.relu(model.bn1(model.conv1(h)))))
    pairs = frame.set_index(["skipped", "unit"])["direct"]
    np.testing.assert_allclose(pairs[0, 1], np.mean(relative(branch, intact[1])), **TOLERANCE)
    assert sorted(pairs.dropna().index) == [(0, 1), (5, 6)]


def test_the_unit_behind_has_the_direct_effect_alone() -> None:
    """Also where a ReLU follows the addition, for what was skipped is taken from behind it."""
    torch.manual_seed(2)
    data = tiny_data(5)
    frame = ra.effects(tiny_network(data, 26), data)
    direct = frame.loc[frame["direct"].notna()]
    near = direct.loc[direct["unit"] == direct["skipped"] + 1]
    assert len(near) > 3
    np.testing.assert_allclose(near["direct"], near["change_mean"], **TOLERANCE)
    far = direct.loc[direct["unit"] > direct["skipped"] + 1]
    assert (np.abs(far["direct"] - far["change_mean"]) > 1e-4).any()


def test_linear_chain_in_closed_form() -> None:
    """The stream is h·Π(1 + a): without s, all behind it is divided by 1 + aₛ."""
    sizes = [0.5, -0.25, 1.0, 0.125]
    data = Rows(9, 6)
    frame = measured(ra.unravel(Chain([factor(a) for a in sizes]), data.x[:2]), data)
    assert len(frame) == 4 + 3 + 2 + 1
    for row in frame.to_dict("records"):
        skipped, later = row["skipped"], row["unit"]
        a = sizes[skipped]
        for name in CONTRACT[2:5]:
            assert row[name] == pytest.approx(abs(a / (1 + a)), rel=1e-5)
        # What s added is aₛ times the stream before it; the stream before j has grown by all between.
        grown = np.prod([1 + sizes[unit] for unit in range(skipped, later)])
        assert row["direct"] == pytest.approx(abs(a / grown), rel=1e-5)
    assert frame["name"].tolist()[3] == "output"


def test_linear_chain_of_matrices_in_closed_form() -> None:
    """What s adds, Aₛhₛ, comes to j as it is (direct), or grown by every unit between (total)."""
    rng = np.random.default_rng(0)
    matrices = [0.4 * rng.normal(size=(6, 6)) for _ in range(4)]
    layers = [nn.Linear(6, 6, bias=False) for _ in matrices]
    for layer, matrix in zip(layers, matrices, strict=True):
        layer.weight.data = torch.from_numpy(matrix).float()
    model, data = Chain(list(layers)), Rows(9, 6)
    frame = measured(ra.unravel(model, data.x[:2]), data).set_index(["skipped", "unit"])
    with torch.no_grad():
        streams = [model.stem(data.x).double().numpy().T]
    for matrix in matrices:
        streams.append(streams[-1] + matrix @ streams[-1])
    readers = [*matrices, model.head.weight.detach().double().numpy()]
    for skipped in range(4):
        added = matrices[skipped] @ streams[skipped]
        arrived = added
        for later in range(skipped + 1, 5):
            whole = np.linalg.norm(readers[later] @ streams[later], axis=0)
            for name, moved in (("direct", added), ("change_mean", arrived)):
                expected = (np.linalg.norm(readers[later] @ moved, axis=0) / whole).mean()
                assert frame.loc[(skipped, later), name] == pytest.approx(expected, rel=1e-4)
            if later < 4:
                arrived = arrived + matrices[later] @ arrived
    assert len(frame) == 10


class Nonlinear(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(self.inner(h))


class Masked(Chain):
    def forward(self, h: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(h) * attention_mask[..., None]


def test_each_kept_token_counts_and_blocks_change_nothing() -> None:
    torch.manual_seed(5)
    mask = (torch.rand(5, 4, generator=torch.Generator().manual_seed(3)) < 0.7).long()
    mask[:, 0] = 1
    assert mask.sum() < mask.numel()
    data = Rows(5, 4, 6, mask=mask)
    model = Masked([Nonlinear() for _ in range(3)])
    network = ra.unravel(model, data.batch(0, 2)[0])
    store = Kept()
    frame = measured(network, data, batch_size=2, store=store)
    assert store.puts == 3
    again = measured(network, data, batch_size=2, store=store)
    assert again.equals(frame)
    assert store.puts == 3
    streams, skipped = [model.stem(data.x)], 0
    for layer in model.layers:
        streams.append(streams[-1] + layer(streams[-1]))
    with torch.no_grad():
        without = streams[skipped] + model.layers[1](streams[skipped])
        intact = model.layers[2](streams[2])
        total = model.layers[2](without)
        direct = model.layers[2](streams[2] - model.layers[0](streams[0]))
        expected = {
            name: [
                float((value[i, t] - intact[i, t]).norm() / intact[i, t].norm())
                for i in range(5) for t in range(4) if mask[i, t]
            ]
            for name, value in (("total", total), ("direct", direct))
        }  # fmt: skip
    row = frame.set_index(["skipped", "unit"]).loc[(0, 2)]
    np.testing.assert_allclose(row["change_mean"], np.mean(expected["total"]), **TOLERANCE)
    np.testing.assert_allclose(row["change_median"], np.median(expected["total"]), **TOLERANCE)
    np.testing.assert_allclose(row["change_max"], max(expected["total"]), **TOLERANCE)
    np.testing.assert_allclose(row["direct"], np.mean(expected["direct"]), **TOLERANCE)


def test_a_branch_of_zeros_has_no_change_and_makes_none() -> None:
    data = Rows(4, 6)
    layers = [Nonlinear(), factor(0.0), Nonlinear()]
    frame = measured(ra.unravel(Chain(layers), data.x[:2]), data)
    pairs = frame.set_index(["skipped", "unit"])
    assert pairs.loc[(0, 1), CONTRACT[2:]].isna().all()
    assert (pairs.loc[[(1, 2), (1, 3)], CONTRACT[2:]] == 0).all(axis=None)
    assert (pairs.loc[[(0, 2), (0, 3)], CONTRACT[2:]] > 0).all(axis=None)


def test_a_layer_that_cannot_be_skipped_has_no_rows() -> None:
    data = tiny_data(4)
    network = ra.unravel(Plain().eval(), data.batch(0, 2)[0], plain=True)
    frame = ra.effects(network, data)
    kept = [unit.index for unit in network.units if unit.deletable]
    assert frame["skipped"].unique().tolist() == kept
    assert frame.attrs["left_out"] == [unit.index for unit in network.units if not unit.deletable]
    assert frame.attrs["left_out"]


def test_what_cannot_be_measured_is_refused() -> None:
    data = Rows(3, 6)
    network = ra.unravel(Chain([factor(0.5), factor(0.5)]), data.x[:2])
    data.x[2, 0] = float("nan")
    with pytest.raises(ResanalysisError, match=r"branch of unit 0 \(layers.0\) is not finite"):
        measured(network, data)
    with pytest.raises(ResanalysisError, match="the data has no examples"):
        measured(network, Rows(0, 6))
    layers = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 5))
    plain = ra.unravel(layers, torch.randn(2, 6), plain=True)
    with pytest.raises(ResanalysisError, match=r"no unit of .* can be skipped"):
        measured(plain, Rows(3, 6))
