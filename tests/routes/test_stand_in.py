"""What stands in for a branch, against hooks on the model's own modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis import unravel
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import evaluate
from resanalysis.routes.route import intact, without
from resanalysis.routes.stand_in import Paired, check_replace, with_donors, with_means
from tests.conftest import Batches, cifar

GONE = [(0,), (2,), (1, 2)]


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return unravel(cifar(8), torch.zeros(2, 3, 16, 16))


@pytest.fixture
def aside() -> Batches:
    return Batches(torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(5)), None)


def branches(model: nn.Module) -> list[nn.Module]:
    """The module that each unit's branch ends in."""
    return [model.get_submodule(f"layer{stage}.0.bn2") for stage in (1, 2, 3)]


def outputs_of_branches(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    handles = [
        branch.register_forward_hook(lambda _m, _i, output: found.append(output))
        for branch in branches(model)
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return found


def losses(data: Batches, gone: tuple[int, ...], instead: list[Tensor]) -> np.ndarray:
    """With the outputs of some branches exchanged by hooks."""
    model = cifar(8)
    for unit in gone:
        value = instead[unit]
        branches(model)[unit].register_forward_hook(
            lambda _m, _i, output, value=value: value.expand_as(output)
        )
    assert data.labels is not None
    with torch.no_grad():
        return F.cross_entropy(model(data.inputs), data.labels, reduction="none").numpy()


def assert_equal_to_hooks(
    network: ResidualNetwork, data: Paired | Batches, labelled: Batches, instead: list[Tensor]
) -> None:
    routes = [intact(network), *(without(network, gone) for gone in GONE)]
    scores = evaluate(network, routes, data, batch_size=4)
    for row, gone in enumerate([(), *GONE]):
        np.testing.assert_allclose(
            scores.values["loss"][row], losses(labelled, gone, instead), rtol=2e-4, atol=2e-5
        )
    zero = [torch.zeros(())] * 3
    assert np.abs(scores.values["loss"][1] - losses(labelled, GONE[0], zero)).max() > 0.01


Reduced = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    ("by", "reduced"),
    [
        ("mean", lambda output: output.mean((0, 2, 3), keepdim=True)),
        ("element-mean", lambda output: output.mean(0, keepdim=True)),
    ],
)
def test_means_equal_hooks(
    network: ResidualNetwork, batches: Batches, aside: Batches, by: str, reduced: Reduced
) -> None:
    instead = [reduced(output) for output in outputs_of_branches(cifar(8), aside.inputs)]
    made = with_means(network, aside, by, batch_size=4)  # type: ignore[arg-type]
    assert_equal_to_hooks(made, batches, batches, instead)


def test_another_examples_output_equals_hooks(network: ResidualNetwork, batches: Batches) -> None:
    donors = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    instead = outputs_of_branches(cifar(8), batches.inputs[donors])
    made = with_donors(network, batches.inputs[:2])
    pairs = Paired(batches, Batches(batches.inputs[donors], None))
    assert_equal_to_hooks(made, pairs, batches, instead)


def test_an_example_that_is_its_own_donor_loses_nothing_at_one_unit(
    network: ResidualNetwork, batches: Batches
) -> None:
    made = with_donors(network, batches.inputs[:2])
    routes = [intact(made), *(without(made, [unit]) for unit in range(3)), without(made, range(3))]
    scores = evaluate(made, routes, Paired(batches, batches))
    # All outputs are those of the intact network, so that even without any branch nothing changes.
    np.testing.assert_allclose(scores.values["kl"], 0, atol=1e-5)


def test_zero_is_what_it_was_to_the_bit(network: ResidualNetwork, batches: Batches) -> None:
    routes = [without(network, [1])]
    made = with_means(network, batches, "mean")
    assert network.units[1].stand_in is None
    changed = evaluate(made, routes, batches).values["loss"]
    before = evaluate(network, routes, batches).values["loss"]
    assert not np.array_equal(before, changed)
    np.testing.assert_array_equal(before, evaluate(network, routes, batches).values["loss"])


def test_channels_of_tokens_are_last_and_hidden_tokens_do_not_count() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Embedding(7, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 7)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            h = self.embed(input_ids) * attention_mask[..., None]
            return self.head(h + torch.tanh(self.mix(h)))

    torch.manual_seed(0)
    model = Tokens().eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(7, (6, 5), generator=generator)
    mask = (torch.arange(5) < torch.tensor([5, 3, 4, 2, 5, 1])[:, None]).long()
    inputs = {"input_ids": ids, "attention_mask": mask}

    class Data:
        def __len__(self) -> int:
            return 6

        def batch(self, start: int, stop: int) -> tuple[dict[str, Tensor], None]:
            return {name: value[start:stop] for name, value in inputs.items()}, None

    network = unravel(model, inputs)
    with torch.no_grad():
        branch = torch.tanh(model.mix(model.embed(ids) * mask[..., None]))
    kept = mask.bool()
    made = with_means(network, Data(), "mean", batch_size=2)
    value = made.units[0].stand_in.value  # type: ignore[union-attr]
    torch.testing.assert_close(value, branch[kept].mean(0)[None, None])
    by_place = with_means(network, Data(), "element-mean", batch_size=4)
    value = by_place.units[0].stand_in.value  # type: ignore[union-attr]
    expected = torch.stack([branch[kept[:, place], place].mean(0) for place in range(5)])
    torch.testing.assert_close(value, expected[None])


def test_what_can_have_no_stand_in_is_refused(network: ResidualNetwork) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="nothing called 'noise' stands in"):
        check_replace(network, "noise")
    gated = replace(network, units=tuple(replace(unit, skip_kind="gate") for unit in network.units))
    check_replace(gated, "zero")
    with pytest.raises(ValueError, match=r"unit 0 .* has one gate for branch and skip: only zero"):
        check_replace(gated, "mean")
    plain = replace(network, units=tuple(replace(unit, skip_kind="none") for unit in network.units))
    with pytest.raises(ValueError, match="is a plain layer: only zero can stand in"):
        check_replace(plain, "resample")
    x = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match="bf16 is for routes"):
        with_donors(replace(network, arithmetic="bf16"), x)
    with pytest.raises(ValueError, match="reads the stream on the way: mean can stand in"):
        with_donors(replace(network, taps=(1,)), x)


def test_channels_of_maps_are_where_the_branch_puts_them() -> None:
    """Keras' models have them last, around convolutions that have them first."""

    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            h = x.permute(0, 2, 3, 1)
            h = h + self.conv(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return h.mean((1, 2))

    torch.manual_seed(0)
    model = ChannelsLast().eval()
    images = torch.randn(6, 3, 5, 4)
    made = with_means(unravel(model, images), Batches(images, None), "mean")
    with torch.no_grad():
        expected = model.conv(images).mean((0, 2, 3)).reshape(1, 1, 1, 3)
    torch.testing.assert_close(made.units[0].stand_in.value, expected)  # type: ignore[union-attr]
