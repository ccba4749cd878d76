"""Pruning tables against loops over hooks, brute force over every deletion, and the lesion table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments import prune_order
from resanalysis.experiments.prune import without_units
from resanalysis.experiments.prune_choice import choose, order_lines
from resanalysis.experiments.prune_joint import looking_ahead
from resanalysis.experiments.prune_order import halves
from resanalysis.experiments.prune_replace import spans_of
from resanalysis.measures.cost import speed_ups, unit_costs
from resanalysis.network import ResidualNetwork
from resanalysis.run.store import PartialStore
from resanalysis.statistics.intervals import intervals_of, paired_rate_difference, wilson
from tests.conftest import cifar
from tests.reference import post_activation_pass, with_zeroed

CONTRACT = [
    "order", "draw", "removed", "units", "unit", "name", "error", "error_low", "error_high",
    "delta", "delta_low", "delta_high", "loss", "agreement", "kl", "parameters", "flops", "speedup",
    "speedup_low", "speedup_high",
]  # fmt: skip
UNITS = 6


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Images labelled mostly with the network's own answers, so that deletions do harm."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    raw = ra.image_dataset(images, [0] * 60, mean=[0.5] * 3, std=[0.25] * 3)
    x, _ = raw.batch(0, 60)
    assert isinstance(x, Tensor)
    with torch.no_grad():
        labels = model_().eval()(x).argmax(1).numpy()
    labels = np.where(rng.random(60) < 0.8, labels, rng.integers(0, 5, 60))
    return replace(raw, labels=labels.astype(np.int64))


def model_() -> nn.Module:
    """A CIFAR ResNet of 6 units whose answers differ between images."""
    model = cifar(14)
    x = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        model.linear.bias -= model(x).mean(0)
    return model


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(model_(), data.batch(0, 2)[0])


@pytest.fixture(scope="module")
def table(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.prune(network, data, draws=3, timing=0, seed=1)


def logits_without(data: Dataset, gone: Any) -> tuple[Tensor, Tensor]:
    """Logits of a loop over blocks, and labels."""
    x, y = data.batch(0, len(data))
    assert isinstance(x, Tensor)
    assert y is not None
    chosen = {int(unit) for unit in gone}
    logits = post_activation_pass(
        model_(), x, range(UNITS), lambda u, skip, branch: skip if u in chosen else skip + branch
    )
    return logits, y


def damage(data: Dataset, gone: Any, by: str) -> tuple[float, float, float]:
    """What deletions cost, compared by ``by``, then loss, then KL."""
    logits, y = logits_without(data, gone)
    intact, _ = logits_without(data, ())
    loss = float(F.cross_entropy(logits, y))
    kl = float(F.kl_div(logits.log_softmax(1), intact.softmax(1), reduction="batchmean"))
    error = float((logits.argmax(1) != y).float().mean())
    return {"loss": (loss, kl, 0.0), "error": (error, loss, kl), "kl": (kl, loss, 0.0)}[by]


def order_of(frame: pd.DataFrame, name: str, draw: int = 0) -> list[int]:
    rows = frame[(frame["order"] == name) & (frame["draw"] == draw)]
    assert rows["removed"].tolist() == list(range(1, len(rows) + 1))
    return rows["unit"].tolist()


def test_halves_share_nothing_and_keep_the_classes(data: Dataset) -> None:
    held, rest = halves(data, 0.5, seed=1)
    assert sorted([*held.indices, *rest.indices]) == list(range(60))
    assert len(held) == len(rest) == 30
    assert data.labels is not None
    for part in (held, rest):
        assert part.labels is not None
        np.testing.assert_array_equal(part.labels, data.labels[part.indices])
        counts = np.bincount(part.labels, minlength=5)
        assert (abs(counts - np.bincount(data.labels, minlength=5) / 2) <= 1).all()
    assert halves(data, 0.5, seed=2)[0].indices.tolist() != held.indices.tolist()
    assert len(halves(data, 0.2, seed=0)[0]) == 12
    limited = data.limited(20, seed=3)
    held, rest = halves(limited, 0.5, seed=0)
    assert set(held.indices) | set(rest.indices) == set(limited.indices)
    for share in (0.0, 1.0, 0.001, -1.0, float("nan")):
        with pytest.raises(ValueError, match="give a calibration between 0 and 1"):
            halves(data, share, seed=0)


def test_the_table_has_the_contract_and_begins_with_the_intact_network(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    assert list(table.columns[: len(CONTRACT)]) == CONTRACT
    first = table.iloc[0]
    assert first[["order", "draw", "removed", "units", "unit", "name"]].tolist() == [
        "intact", 0, 0, "", -1, "intact",
    ]  # fmt: skip
    _, rest = halves(data, 0.5, seed=1)
    intact = ra.lesion(network, rest).iloc[0]
    for name in ("error", "error_low", "error_high", "delta", "loss", "agreement"):
        assert first[name] == pytest.approx(intact[name])
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    sizes = table[table["order"] != "intact"].groupby(["order", "draw"]).size()
    assert set(sizes) == {UNITS}
    names = ["greedy", "lesion", "influence", "ratio", "branch_norm", "cosine", "random"]
    assert table.attrs["orders"] == names
    assert len(sizes) == 9
    classes = list(np.asarray(rest.labels))
    most = max(classes.count(label) for label in classes)
    assert table.attrs["chance"] == most / 30
    assert (table.attrs["n"], table.attrs["n_calibration"], table.attrs["by"]) == (30, 30, "loss")
    assert table["speedup"].isna().all()


@pytest.mark.parametrize("by", ["loss", "error", "kl"])
def test_greedy_equals_brute_force_step_by_step(
    by: Any, network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.prune(network, data, orders=["greedy"], by=by, timing=0, seed=1)
    held, _ = halves(data, 0.5, seed=1)
    gone: list[int] = []
    for unit in order_of(frame, "greedy"):
        left = [u for u in range(UNITS) if u not in gone]
        costs = {u: damage(held, [*gone, u], by) for u in left}
        best = min(costs.values())
        assert costs[unit] == pytest.approx(best, rel=1e-4, abs=1e-5)
        gone.append(unit)
    assert sorted(gone) == list(range(UNITS))


class Wrong:
    """Errors counted over all examples: the fewer the better."""

    higher_is_better = False

    def __init__(self) -> None:
        self.wrong = self.seen = 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.wrong += int((preds.argmax(1) != target).sum())
        self.seen += len(target)

    def compute(self) -> float:
        return self.wrong / self.seen


def wrong(output: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    return (output.argmax(1) != labels).float()


def right(output: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    return (output.argmax(1) == labels).float()


wrong.higher_is_better = False  # type: ignore[attr-defined]


def test_orders_by_a_metric_of_ones_own(network: ResidualNetwork, data: Dataset) -> None:
    asked: dict[str, Any] = {"orders": ["greedy"], "timing": 0, "seed": 1}
    by_error = ra.prune(network, data, by="error", **asked)
    for metric, sign in ((Wrong, 1), (wrong, 1), (right, -1)):
        frame = ra.prune(network, data, metric=metric, **asked)
        assert frame.attrs["by"] == "metric"
        assert order_of(frame, "greedy") == order_of(by_error, "greedy")
        expected = frame["error"] if sign > 0 else 1 - frame["error"]
        np.testing.assert_allclose(frame["metric"], expected, rtol=1e-6)
        np.testing.assert_allclose(frame["metric_delta"], sign * frame["delta"], atol=1e-6)
        assert ra.figures.prune(frame).axes[0].get_ylabel() == "Own metric"
    by_loss = ra.prune(network, data, metric=Wrong, by="loss", **asked)
    assert by_loss.attrs["by"] == "loss"
    assert order_of(by_loss, "greedy") == order_of(ra.prune(network, data, **asked), "greedy")
    with pytest.raises(ValueError, match="there is no metric to compare by"):
        ra.prune(network, data, by="metric", **asked)
    asked |= {"orders": ["random"], "until": 2, "draws": 1}
    linear = ra.prune(network, data, metric=Wrong, replace="linear", **asked)
    np.testing.assert_allclose(linear["metric"], linear["error"], rtol=1e-6)
    again = ra.prune(network, data, metric=right, recalibrate=8, **asked)
    accuracy = 1 - again["error_recalibrated"]
    np.testing.assert_allclose(again["metric_recalibrated"], accuracy, rtol=1e-6)
    assert "metric_delta_recalibrated_low" in again


def test_first_step_and_lesion_order_are_those_of_the_lesion_table(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    held, _ = halves(data, 0.5, seed=1)
    losses = ra.lesion(network, held).set_index("unit")["loss"].drop(-1)
    assert order_of(table, "greedy")[0] == losses.idxmin()
    assert order_of(table, "lesion") == losses.sort_values().index.tolist()
    model = model_()
    x, y = held.batch(0, len(held))
    assert isinstance(x, Tensor)
    assert y is not None
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]  # type: ignore[union-attr]
    naive = [float(F.cross_entropy(with_zeroed(model, [b.bn2], x), y)) for b in blocks]
    assert order_of(table, "greedy")[0] == int(np.argmin(naive))


def test_cheap_orders_are_sorted_measures_of_the_calibration_half(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    held, rest = halves(data, 0.5, seed=1)
    measured = ra.stream(network, held).set_index("unit")
    for name in ("influence", "ratio", "branch_norm", "cosine"):
        assert order_of(table, name) == measured[name].sort_values().index.tolist()
    assert measured["influence"].tolist() != ra.stream(network, rest)["influence"].tolist()


def test_units_without_the_measure_go_last() -> None:
    frame = pd.DataFrame({"unit": [0, 1, 2, 3], "m": [np.nan, 2.0, 1.0, np.nan], "n": [np.nan] * 4})
    assert prune_order.by_measure(frame, "m", [0, 1, 2, 3]) == (2, 1, 0, 3)
    assert prune_order.by_measure(frame, "m", [0, 1, 3]) == (1, 0, 3)
    assert prune_order.by_measure(frame, "m", [0, 3]) is None
    assert prune_order.by_measure(frame, "n", [0, 1, 2, 3]) is None


def test_rows_equal_a_loop_on_the_other_half(table: pd.DataFrame, data: Dataset) -> None:
    _, rest = halves(data, 0.5, seed=1)
    base, y = logits_without(rest, ())
    base_wrong = (base.argmax(1) != y).numpy()
    assert 0 < base_wrong.mean() < 0.6
    for row in table.to_dict("records"):
        logits, _ = logits_without(rest, row["units"].split())
        assert len(row["units"].split()) == row["removed"]
        wrong = (logits.argmax(1) != y).numpy()
        losses = F.cross_entropy(logits, y, reduction="none").numpy()
        assert row["error"] == wrong.mean()
        assert row["delta"] == pytest.approx(wrong.mean() - base_wrong.mean())
        low, high = wilson(wrong.sum(), 30)
        assert (row["error_low"], row["error_high"]) == pytest.approx((float(low), float(high)))
        if row["removed"]:
            change = paired_rate_difference(wrong, base_wrong)
            assert (row["delta_low"], row["delta_high"]) == pytest.approx(change[1:])
        loss = intervals_of(losses[None], seed=1).row(0)
        assert row["loss"] == pytest.approx(loss.mean, rel=1e-3)
        assert (row["loss_low"], row["loss_high"]) == pytest.approx(loss[1:], rel=1e-3)
        agreement = (logits.argmax(1) == base.argmax(1)).float().mean()
        assert row["agreement"] == pytest.approx(float(agreement))
        kl = F.kl_div(logits.log_softmax(1), base.softmax(1), reduction="batchmean")
        assert row["kl"] == pytest.approx(float(kl), rel=1e-3, abs=1e-5)
    assert table["delta"].nunique() > 5


def test_the_joint_order_looks_ahead_over_all_pairs_deleted_one_by_one(
    network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.prune(network, data, orders=["interactions"], timing=0, seed=1)
    held, _ = halves(data, 0.5, seed=1)
    intact = damage(held, (), "loss")[0]
    alone = {u: damage(held, [u], "loss")[0] - intact for u in range(UNITS)}
    pairs = {pair: damage(held, pair, "loss")[0] - intact for pair in combinations(range(UNITS), 2)}

    def predicted(gone: Sequence[int]) -> float:
        joint = (pairs[p] - alone[p[0]] - alone[p[1]] for p in combinations(sorted(gone), 2))
        return sum(alone[u] for u in gone) + sum(joint)

    gone: list[int] = []
    for unit in order_of(frame, "interactions"):
        left = [u for u in range(UNITS) if u not in gone]
        if len(left) > 1:
            best = min(combinations(left, 2), key=lambda two: predicted([*gone, *two]))
            assert unit == min(best, key=lambda u: predicted([*gone, u]))
        gone.append(unit)
    assert sorted(gone) == list(range(UNITS))


def test_a_look_ahead_of_two_sees_what_greedy_does_not() -> None:
    """Unit 0 is cheapest alone, and 1 and 2 are cheap together, as one is of no use without the other."""
    alone = np.array([1.0, 2.0, 2.5])
    joint = np.zeros((3, 3))
    joint[1, 2] = joint[2, 1] = -2.4
    assert looking_ahead(alone, joint, 3) == [1, 2, 0]
    assert looking_ahead(alone, np.zeros((3, 3)), 2) == [0, 1]


def test_spans_are_the_neighbours_that_cost_least(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.prune(
        network, data, orders=["span", "span_distance"], transitions="excluded", timing=0, seed=1
    )
    held, _ = halves(data, 0.5, seed=1)
    table = ra.stream_spans(network, held)
    there = {1: [(0,), (1,), (3,), (5,)], 2: [(0, 1)]}  # units 2 and 4 are transitions
    for name in ("span", "span_distance"):
        rows = frame[frame["order"] == name]
        assert rows["removed"].tolist() == [1, 2]
        for row in rows.to_dict("records"):
            units = tuple(int(u) for u in row["units"].split())
            if name == "span":
                costs = {s: damage(held, s, "loss")[0] for s in there[row["removed"]]}
            else:
                same = table[table["length"] == row["removed"]].set_index("start")["distance"]
                costs = {s: same[s[0]] for s in there[row["removed"]]}
            assert units == min(costs, key=lambda s: costs[s])
    whole = ra.prune(network, data, orders=["span"], timing=0, seed=1)
    assert whole["removed"].max() == UNITS  # over the transitions too
    for row in whole[1:].to_dict("records"):
        units = [int(u) for u in row["units"].split()]
        assert units == list(range(units[0], units[0] + row["removed"]))


def test_an_iterative_order_takes_the_measure_anew(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.prune(network, data, orders=["iterative_ratio"], timing=0, seed=1)
    held, _ = halves(data, 0.5, seed=1)
    x, _ = held.batch(0, len(held))
    assert isinstance(x, Tensor)
    gone: list[int] = []
    for unit in order_of(frame, "iterative_ratio"):
        ratios: dict[int, float] = {}

        def add(u: int, skip: Tensor, branch: Tensor, ratios: dict[int, float] = ratios) -> Tensor:
            ratios[u] = float((branch.flatten(1).norm(dim=1) / skip.flatten(1).norm(dim=1)).mean())
            return skip if u in gone else skip + branch

        post_activation_pass(model_(), x, range(UNITS), add)
        left = {u: value for u, value in ratios.items() if u not in gone}
        assert unit == min(left, key=lambda u: left[u])
        gone.append(unit)


def mapped_logits(data: Dataset, held: Dataset, gone: list[int]) -> Tensor:
    """A loop over blocks; behind each span a map, by numpy's least squares on the streams of ``held``."""
    model = model_()
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]  # type: ignore[union-attr]

    def start(part: Dataset) -> Tensor:
        return F.relu(model.bn1(model.conv1(part.batch(0, len(part))[0])))  # type: ignore[operator]

    def bare(h: Tensor, unit: int) -> Tensor:
        return F.relu(blocks[unit].shortcut(h))

    with torch.no_grad():
        h, calm, intact = start(data), start(held), []
        for block in blocks:
            intact.append(calm)
            calm = block(calm)
        intact.append(calm)
        for unit, block in enumerate(blocks):
            h = bare(h, unit) if unit in gone else block(h)
            if unit in gone and unit + 1 not in gone:
                first = unit
                while first - 1 in gone:
                    first -= 1
                x = intact[first]
                for skipped in range(first, unit + 1):
                    x = bare(x, skipped)
                known, target, own = (
                    t.permute(0, 2, 3, 1).double() for t in (x, intact[unit + 1], h)
                )
                ones = [np.ones((*t.shape[:3], 1)) for t in (known, own)]
                known = np.concatenate([known, ones[0]], 3).reshape(-1, known.shape[3] + 1)
                best = np.linalg.lstsq(known, target.flatten(0, 2).numpy(), rcond=None)[0]
                h = (
                    torch.from_numpy(np.concatenate([own, ones[1]], 3) @ best)
                    .permute(0, 3, 1, 2)
                    .float()
                )
        return model.linear(h.mean((2, 3)))  # type: ignore[operator]


def test_linear_maps_in_place_of_units_equal_a_loop_with_lstsq(
    network: ResidualNetwork, data: Dataset
) -> None:
    how: dict[str, Any] = {"orders": ["greedy", "random"], "draws": 1, "timing": 0, "seed": 1}
    frame = ra.prune(network, data, replace="linear", batch_size=7, **how)
    plain = ra.prune(network, data, **how)
    assert frame["units"].tolist() == plain["units"].tolist()  # orders are those of deletions
    assert frame.attrs["replace"] == "linear"
    held, rest = halves(data, 0.5, seed=1)
    y = rest.batch(0, len(rest))[1]
    assert y is not None
    base, _ = logits_without(rest, ())
    for row in frame.to_dict("records"):
        gone = [int(unit) for unit in row["units"].split()]
        logits = mapped_logits(rest, held, gone)
        assert row["loss"] == pytest.approx(float(F.cross_entropy(logits, y)), rel=2e-3)
        kl = F.kl_div(logits.log_softmax(1), base.softmax(1), reduction="batchmean")
        assert row["kl"] == pytest.approx(float(kl), rel=1e-2, abs=1e-4)
        made = without_units(network, data, gone, replace="linear", seed=1)
        with torch.no_grad():
            found = ra.shortened(made, gone)(rest.batch(0, len(rest))[0])
        torch.testing.assert_close(found, logits, rtol=1e-2, atol=1e-3)
    assert (frame["kl"][1:] <= plain["kl"][1:]).mean() > 0.7
    # The map of the last unit is folded into the linear layer behind it, the others stay: C² + C weights.
    last = without_units(network, data, [5], replace="linear", seed=1)
    assert unit_costs(last, data.batch(0, 2)[0]).parameters[1][5] == 0
    inner = without_units(network, data, [0, 1, 3], replace="linear", seed=1)
    costs = unit_costs(inner, data.batch(0, 2)[0])
    assert costs.parameters[1].tolist() == [0, 4 * 4 + 4, 0, 8 * 8 + 8, 0, 0]
    assert costs.flops[1].tolist()[1] == 2 * 4 * 4 * 16 * 16


def test_spans_are_parted_where_something_is_left(network: ResidualNetwork) -> None:
    assert spans_of(network, [5, 0, 1, 3]) == [(0, 1), (3, 3), (5, 5)]
    assert spans_of(network, []) == []
    bridged = replace(network, bridges=(None, nn.Identity(), *(None,) * 4))
    assert spans_of(bridged, [0, 1, 2]) == [(0, 0), (1, 2)]


def test_an_order_is_one_line(table: pd.DataFrame) -> None:
    lines = dict(line.split(": ") for line in order_lines(table))
    assert list(lines) == table.attrs["orders"]
    for name, line in lines.items():
        assert [int(unit) for unit in line.split(",")] == order_of(table, name)
    spans = frame_of([0.1, 0.2], "span").assign(units=["", "11", "12 13"], unit=[-1, 11, 13])
    assert order_lines(spans) == []
    assert choose(spans, order="span", remove=2).units == (12, 13)


def test_random_orders_are_seeded_and_more_change_none(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    again = ra.prune(network, data, draws=3, timing=0, seed=1)
    pd.testing.assert_frame_equal(table, again)
    more = ra.prune(network, data, orders=["random"], draws=5, timing=0, seed=1, until=2)
    for draw in range(3):
        assert order_of(more, "random", draw) == order_of(table, "random", draw)[:2]
    other = ra.prune(network, data, orders=["random"], draws=5, timing=0, seed=2, until=2)
    assert other["units"].tolist() != more["units"].tolist()


def test_transitions_can_be_kept(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.prune(
        network, data, orders=["greedy", "random", "influence"], transitions="excluded", timing=0
    )
    assert frame["removed"].max() == 4
    gone = {unit for units in frame["units"] for unit in units.split()}
    assert gone == {"0", "1", "3", "5"}


def test_costs_of_what_is_left(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    inspected = ra.inspect(network).set_index("unit")
    for row in table.to_dict("records"):
        left = [u for u in range(UNITS) if u not in {int(unit) for unit in row["units"].split()}]
        assert (
            row["parameters"] == inspected.loc[left, "parameters"].sum()
        )  # padded skips have none
        assert row["flops"] == inspected.loc[left, "flops"].sum()
    assert table.loc[table["removed"] == 0, "flops_ratio"].tolist() == [1.0]
    assert (table["flops_ratio"][1:] > 1).all()
    torchvision = pytest.importorskip("torchvision")
    x = torch.randn(2, 3, 32, 32)
    costs = unit_costs(ra.unravel(torchvision.models.resnet18().eval(), x), x)
    # 1×1 convolution 64 → 128 with stride 2 from 8×8, and its batch norm.
    assert costs.parameters[1].tolist()[:4] == [0, 0, 64 * 128 + 2 * 128, 0]
    assert costs.flops[1].tolist()[:4] == [0, 0, 2 * 64 * 128 * 4 * 4, 0]
    # 7×7 convolution 3 → 64 to 16×16, and the linear layer.
    assert costs.flops_elsewhere == 2 * 3 * 49 * 64 * 16 * 16 + 2 * 512 * 1000


def test_speed_ups_are_measured_at_some_sizes(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.prune(network, data, orders=["random", "greedy"], draws=1, timing=0.3, batch_size=4)
    timed = frame[frame["speedup"].notna()]
    assert set(timed["order"]) == {"greedy"}
    assert timed["removed"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (timed["speedup_low"] <= timed["speedup"]).all()
    assert (timed["speedup"] <= timed["speedup_high"]).all()
    assert frame.attrs["timed_batch"] == 4


def test_a_network_without_its_expensive_unit_is_faster() -> None:
    class Layer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.wide = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.wide(x)

    torch.manual_seed(0)
    x = torch.randn(64, 8)
    chain = ra.unravel(nn.Sequential(nn.Linear(8, 8), Layer(30_000), Layer(4)).eval(), x)
    first, second = speed_ups(chain, [(0,), (1,)], x, seconds=0.5)
    assert first.low > 3
    assert 0.5 < second.mean < 2
    assert first.low <= first.mean <= first.high


class Recorded(PartialStore):
    """Counts what is put."""

    put_keys: list[str]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.put_keys = []

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.put_keys.append(key)
        super().put(key, arrays)


def test_resuming_computes_nothing_again(
    network: ResidualNetwork, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"draws": 2, "timing": 0.05, "until": 3, "batch_size": 16}
    store = Recorded(tmp_path / "store")
    frame = ra.prune(network, data, store=store, **how)
    assert len(set(store.put_keys)) == len(store.put_keys) == len(store)
    again = Recorded(tmp_path / "store")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    # By sys.modules: as attributes of their packages, these names are the functions.
    monkeypatch.setattr(sys.modules["resanalysis.routes.evaluator"], "entered", refuse)
    monkeypatch.setattr(sys.modules["resanalysis.measures.cost"], "_ratios", refuse)
    monkeypatch.setattr(sys.modules["resanalysis.experiments.stream_images"], "_block", refuse)
    resumed = ra.prune(network, data, store=again, **how)
    assert again.put_keys == []
    pd.testing.assert_frame_equal(frame, resumed)
    with pytest.raises(AssertionError, match="computed again"):
        ra.prune(network, data, **how)


def test_an_interrupted_run_goes_on(
    network: ResidualNetwork, data: Dataset, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"orders": ["greedy", "ratio"], "timing": 0, "until": 4}

    class Stopped(PartialStore):
        def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
            super().put(key, arrays)
            if len(self) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ra.prune(network, data, store=Stopped(tmp_path / "store"), **how)
    kept = len(PartialStore(tmp_path / "store"))
    store = Recorded(tmp_path / "store")
    resumed = ra.prune(network, data, store=store, **how)
    assert len(store.put_keys) == len(store) - kept
    pd.testing.assert_frame_equal(resumed, ra.prune(network, data, **how))


def test_nothing_of_the_network_is_changed(network: ResidualNetwork, data: Dataset) -> None:
    before = [t.clone() for p in network.parts().values() for t in p.parameters()]
    flags = [module.training for p in network.parts().values() for module in p.modules()]
    state = torch.get_rng_state()
    ra.prune(network, data, draws=2, timing=0.05, until=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    after = [t for p in network.parts().values() for t in p.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert flags == [module.training for p in network.parts().values() for module in p.modules()]


def test_language_models_without_labels_go_by_divergence() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=23, n_positions=8, n_embd=12, n_layer=2, n_head=2, use_cache=False,
        bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = np.random.default_rng(0).integers(0, 23, (10, 6))

    class Unlabelled(Dataset):
        def batch(self, start: int, stop: int) -> tuple[Any, None]:
            return super().batch(start, stop)[0], None

    data = Unlabelled("texts", ra.datasets.images.ArraySource(ids), None, indices=np.arange(10))
    network = ra.unravel(model, data.batch(0, 2)[0])
    frame = ra.prune(network, data, draws=2, timing=0.1)
    assert frame.attrs["by"] == "kl"
    assert frame[["error", "delta", "loss"]].isna().all(axis=None)
    assert frame["kl"].notna().all()
    held, rest = halves(data, 0.5, seed=0)

    def divergence(part: Dataset, gone: list[int]) -> float:
        x = part.batch(0, len(part))[0]
        modules = [m for layer in model.transformer.h for m in (layer.attn.c_proj, layer.mlp)]
        with torch.no_grad():
            base = model(**x).logits[:, :-1].log_softmax(-1)
            handles = [
                modules[u].register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))
                for u in gone
            ]
            changed = model(**x).logits[:, :-1].log_softmax(-1)
            for handle in handles:
                handle.remove()
        return float((base.exp() * (base - changed)).sum(-1).mean())

    gone: list[int] = []
    for unit, kl in zip(
        order_of(frame, "greedy"), frame[frame["order"] == "greedy"]["kl"], strict=True
    ):
        costs = {u: divergence(held, [*gone, u]) for u in range(4) if u not in gone}
        assert costs[unit] == pytest.approx(min(costs.values()), rel=1e-4)
        gone.append(unit)
        assert kl == pytest.approx(divergence(rest, gone), rel=1e-3)
    choice = choose(frame, max_drop=1.0)
    assert len(choice.units) == 4
    with pytest.raises(
        ValueError, match="the error needs labels, and the data has none; compare by"
    ):
        ra.prune(network, data, by="error")


def frame_of(deltas: list[float], order: str = "greedy") -> pd.DataFrame:
    rows = [
        {"order": "intact", "draw": 0, "removed": 0, "unit": -1, "delta": 0.0, "agreement": 1.0}
    ]
    rows += [
        {"order": order, "draw": 0, "removed": k, "unit": 10 + k, "delta": delta,
         "agreement": 1 - k / 10, "units": " ".join(str(10 + j) for j in range(1, k + 1))}
        for k, delta in enumerate(deltas, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_choice_is_the_largest_number_within_the_drop() -> None:
    frame = frame_of([0.0, 0.03, 0.07 - 0.05, 0.2])
    assert choose(frame, max_drop=0.02).units == (11, 12, 13)
    assert choose(frame, max_drop=0.0).units == (11,)
    assert choose(frame, max_drop=0.5).units == (11, 12, 13, 14)
    two = choose(frame, remove=2)
    assert (two.units, two.drop, two.reason) == ((11, 12), 0.03, "")
    none = choose(frame_of([0.3, 0.25]), max_drop=0.01)
    assert none.units == ()
    assert none.reason == (
        "no number of units in the order greedy costs 0.01 or less: the least is 0.25, with 2 removed; "
        "no model was written"
    )
    unlabelled = frame_of([np.nan] * 4)
    assert choose(unlabelled, max_drop=0.21).units == (11, 12)
    with pytest.raises(ValueError, match="the order greedy has 1 to 4 units to remove, got 5"):
        choose(frame, remove=5)
    with pytest.raises(ValueError, match="the table has no order 'random'; it has greedy"):
        choose(frame, order="random", remove=1)
    for both in ({}, {"remove": 1, "max_drop": 0.1}):
        with pytest.raises(ValueError, match="name either how many units to remove or the largest"):
            choose(frame, **both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"orders": ["greedy", "best"]},
            "no order 'best'; there are greedy, lesion, interactions, span",
        ),
        ({"orders": []}, "no order named; there are greedy"),
        ({"orders": ["lesion", "lesion"]}, "each order is named once, got lesion, lesion"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"until": 0}, "until must be at least 1, got 0"),
        ({"replace": "zero"}, "cannot be replaced by 'zero'; there are nothing, linear"),
        (
            {"orders": ["iterative_gate"]},
            "CifarResNet has no gate to order its units by; it has influence",
        ),
        ({"by": "accuracy"}, "no damage 'accuracy'; there are loss, error, kl"),
        (
            {"orders": ["gate"]},
            "CifarResNet has no gate to order its units by; it has influence, ratio, branch_norm, "
            "cosine, gradient_cosine, bn_scale",
        ),
    ],
)
def test_what_makes_no_sense(
    options: dict[str, Any], text: str, network: ResidualNetwork, data: Dataset
) -> None:
    with pytest.raises(ValueError, match=text):
        ra.prune(network, data, timing=0, **options)
