"""Rearrangements against loops written over the model's own modules, and scores computed from scratch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.measures.baselines import Baselines, baselines
from resanalysis.network import ResidualNetwork
from resanalysis.routes.rearranged import KINDS, middles
from tests.conftest import Batches, cifar
from tests.experiments.conftest import Accuracy
from tests.experiments.test_lesion import wrong

COLUMNS = [
    "kind", "touched", "draw", "units", "order", "score", "score_low", "score_high", "error", "loss",
    "agreement", "kl", "intact_error", "chance", "size",
]  # fmt: skip
# 12 units, transitions at 4 and 8: the middles of 1, 4, 7 and 10 units, written out.
MIDDLES = {
    1: ((2,),),
    4: ((1, 2), (6,), (10,)),
    7: ((1, 2, 3), (6, 7), (10, 11)),
    10: ((0, 1, 2, 3), (5, 6, 7), (9, 10, 11)),
}
CENTRE = {0: 2, 1: 2, 2: 2, 3: 2, 5: 6, 6: 6, 7: 6, 9: 10, 10: 10, 11: 10}


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 3, 16, 16), dtype=np.uint8)


def model() -> nn.Module:
    """A random network whose answers vary with the image."""
    made = cifar(26)
    with torch.no_grad():
        x = ra.image_dataset(images(), None, mean=[0.5] * 3, std=[0.25] * 3).batch(0, 80)[0]
        made.linear.bias -= made(x).mean(0)
    return made


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Two labels of three are what the network answers, so that there is something to lose."""
    unlabelled = ra.image_dataset(images(), None, mean=[0.5] * 3, std=[0.25] * 3)
    with torch.no_grad():
        answers = model()(unlabelled.batch(0, 80)[0]).argmax(1).numpy()
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(80) < 2 / 3, answers, rng.integers(0, 5, 80))
    return ra.image_dataset(images(), labels, mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(model(), data.batch(0, 2)[0], name="tiny")


@pytest.fixture(scope="module")
def frame(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.rearrange(network, data, draws=3, seed=5)


Layer = Callable[[Tensor], Tensor]


def by_hand(
    kind: str,
    h: Tensor,
    layers: Sequence[Layer],
    skipped: Sequence[Layer],
    row: Any,
    loops: int = 3,
) -> Tensor:
    """Run a chain of layers as the row of a table says, layer by layer.

    ``skipped`` holds the layers without their branches.
    """
    touched = [int(unit) for unit in row.units.split()]  # all of the middle where units do not move
    if kind in ("intact", "reverse", "shuffle", "repeat", "swap"):
        for unit in map(int, row.order.split()):
            h = layers[unit](h)
        return h
    position = 0
    while position < len(layers):
        if position not in touched:
            h = layers[position](h)
            position += 1
        elif kind == "skip":
            h = skipped[position](h)
            position += 1
        else:
            run = [position]
            while run[-1] + 1 in touched:
                run.append(run[-1] + 1)
            for _ in range(loops if kind == "looped" else 1):
                h = torch.stack([layers[unit](h) for unit in run]).mean(0)
            position = run[-1] + 1
    return h


@pytest.mark.parametrize("kind", ["intact", *KINDS])
def test_every_row_of_a_convolutional_network_equals_a_loop(
    kind: str, frame: pd.DataFrame, data: Dataset
) -> None:
    whole = model()
    stages = [whole.get_submodule(name) for name in ("layer1", "layer2", "layer3")]
    blocks: list[Any] = [block for stage in stages for block in stage.children()]
    skipped = [lambda h, block=block: torch.relu(block.shortcut(h)) for block in blocks]
    x, y = data.batch(0, 80)
    assert isinstance(x, Tensor)
    assert y is not None
    rows = frame[frame["kind"] == kind]
    # A middle of one unit has no other order, that of four units one.
    assert len(rows) == {"intact": 1, "shuffle": 0 + 1 + 3 + 3, "swap": 3 + 2 + 2}.get(kind, 4)
    for row in rows.itertuples():
        with torch.no_grad():
            reference = whole(x)
            h = by_hand(kind, torch.relu(whole.bn1(whole.conv1(x))), blocks, skipped, row)
            logits = whole.linear(h.mean((2, 3)))
        assert row.error == pytest.approx(wrong(logits, y).mean())
        assert row.loss == pytest.approx(float(F.cross_entropy(logits, y)), rel=1e-3)
        agreement = (logits.argmax(1) == reference.argmax(1)).double().mean()
        assert row.agreement == pytest.approx(float(agreement))
        assert row.intact_error == wrong(reference, y).mean()


def test_rows_name_the_units_they_touch(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == COLUMNS
    assert frame.iloc[0][["kind", "touched", "units"]].tolist() == ["intact", 0, ""]
    spans = {size: [unit for part in span for unit in part] for size, span in MIDDLES.items()}
    for row in frame.iloc[1:].itertuples():
        units = [int(unit) for unit in row.units.split()]
        order = [int(unit) for unit in row.order.split()]
        assert len(units) == row.touched
        if row.kind == "swap":
            first, second = units
            assert second == first + 1
            expected = [*range(first), second, first, *range(second + 1, 12)]
            assert order == expected
            continue
        assert len(spans[row.size]) == row.size
        if order:
            assert units == [position for position, unit in enumerate(order) if unit != position]
            assert set(units) <= set(spans[row.size])
        else:
            assert units == spans[row.size]
        if row.kind == "reverse":
            for part in MIDDLES[row.size]:
                assert [order[p] for p in part] == list(part)[::-1]
        elif row.kind == "shuffle":
            for part in MIDDLES[row.size]:
                assert sorted(order[p] for p in part) == list(part)
        elif row.kind == "repeat":
            assert all(order[p] == CENTRE[p] for p in spans[row.size])
        else:
            assert order == []
    pairs = frame.loc[frame["kind"] == "swap", "units"].tolist()
    assert pairs == ["0 1", "1 2", "2 3", "5 6", "6 7", "9 10", "10 11"]


def right(output: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    return (output.argmax(1) == labels).float()


def test_metrics_of_ones_own_and_their_means_over_orders(
    network: ResidualNetwork, data: Dataset, frame: pd.DataFrame
) -> None:
    asked: dict[str, Any] = {"kinds": ["skip", "shuffle"], "sizes": [4, 7], "draws": 3, "seed": 5}
    of_all = ra.rearrange(network, data, metric=Accuracy, **asked)
    of_each = ra.rearrange(network, data, metric=right, recalibrate=20, **asked)
    for found in (of_all, of_each):
        np.testing.assert_allclose(found["metric"], 1 - found["error"], rtol=1e-6)
        change = found["intact_error"] - found["error"]
        np.testing.assert_allclose(found["metric_delta"], change, atol=1e-6)
        assert (found["intact_metric"] == found["metric"].iloc[0]).all()
        drawn = found.groupby(["kind", "size"])["metric"].transform("mean")
        np.testing.assert_allclose(found["mean_metric"], drawn)
        # Four units have one other order in these stages, seven have 23.
        assert found["listed"].tolist() == [True, True, True, True, False, False, False]
        assert (found["mean_metric_low"] <= found["mean_metric"]).all()
        assert (found["mean_metric"] <= found["mean_metric_high"]).all()
        assert found.loc[~found["listed"], "mean_metric_se_draws"].gt(0).all()
        assert found["score"].notna().all()
    again = of_each["metric_recalibrated"]
    np.testing.assert_allclose(again, 1 - of_each["error_recalibrated"], rtol=1e-6)
    wanted = frame.loc[frame["kind"].isin(["intact", "skip", "shuffle"])]
    same = wanted.loc[wanted["size"].isin([0, 4, 7]), COLUMNS].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_all[COLUMNS], same, check_exact=False, rtol=1e-4, atol=1e-5)


def slow_score(right: np.ndarray, intact: np.ndarray, labels: np.ndarray) -> float:
    chance = max(np.mean(labels == label) for label in labels)
    return (right.mean() - chance) / (intact.mean() - chance)


def test_scores_are_normalised_and_intervals_paired(frame: pd.DataFrame, data: Dataset) -> None:
    assert data.labels is not None
    labels = data.labels
    most = np.bincount(labels).max() / 80
    intact_accuracy = 1 - frame["intact_error"].iloc[0]
    assert (frame["chance"] == most).all()
    assert intact_accuracy > most
    expected = (1 - frame["error"] - most) / (intact_accuracy - most)
    np.testing.assert_allclose(frame["score"], expected, atol=1e-9)
    assert frame.iloc[0][["score", "score_low", "score_high"]].tolist() == [1, 1, 1]
    altered = frame[frame["score"] != 1]
    assert (altered["score_low"] <= altered["score"]).all()
    assert (altered["score"] <= altered["score_high"]).all()
    assert frame.attrs["measure"] == "accuracy"
    assert frame.attrs["chance_answer"] == np.bincount(labels).argmax()

    # A second bootstrap, one resample at a time.
    rng = np.random.default_rng(3)
    intact = rng.random(200) < 0.8
    route = np.where(rng.random(200) < 0.7, intact, rng.random(200) < 0.3)
    drawn_labels = rng.integers(0, 4, 200)
    common = np.bincount(drawn_labels).argmax()
    constant = (drawn_labels == common).astype(float)
    base = Baselines("accuracy", intact.astype(float), constant, int(common))
    score, low, high = base.normalised(route[None].astype(float))
    assert score[0] == pytest.approx(slow_score(route, intact, drawn_labels))
    ratios = []
    for _ in range(4000):
        pick = rng.integers(0, 200, 200)
        floor = constant[pick].mean()
        ratios.append((route[pick].mean() - floor) / (intact[pick].mean() - floor))
    assert [low[0], high[0]] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.015)


def test_the_baselines_are_resampled_with_the_score() -> None:
    rng = np.random.default_rng(0)
    constant = (rng.random(50) < 0.3).astype(float)
    intact = np.maximum(constant, rng.random(50) < 0.7)
    base = Baselines("accuracy", intact, constant, 0)
    score, low, high = base.normalised(np.stack([constant, intact, (constant + intact) / 2]))
    for found in (score, low, high):
        np.testing.assert_allclose(found, [0, 1, 0.5], atol=1e-12)


def test_an_intact_network_near_chance_has_no_interval() -> None:
    intact = np.array([1.0, 0.0, 0.0, 1.0])
    constant = np.array([1.0, 0.0, 0.0, 0.0])
    score, low, high = Baselines("accuracy", intact, constant, 0).normalised(intact[None])
    assert score.tolist() == [1]
    assert np.isnan([low[0], high[0]]).all()


def test_a_middle_of_one_unit_changes_nothing(frame: pd.DataFrame) -> None:
    alone = frame[
        (frame["size"] == 1) & frame["kind"].isin(["reverse", "shuffle", "repeat", "parallel"])
    ]
    assert alone["kind"].tolist() == ["reverse", "repeat", "parallel"]
    assert alone["touched"].tolist() == [0, 0, 1]
    assert (alone["score"] == 1).all()
    assert (alone["agreement"] == 1).all()
    np.testing.assert_allclose(alone["loss"], frame["loss"].iloc[0], rtol=1e-6)
    assert (frame.loc[frame["kind"] == "skip", "kl"] > 1e-4).all()


def test_seeds_decide_and_more_draws_extend(
    network: ResidualNetwork, data: Dataset, frame: pd.DataFrame
) -> None:
    pd.testing.assert_frame_equal(frame, ra.rearrange(network, data, draws=3, seed=5))
    shuffled = frame[frame["kind"] == "shuffle"].reset_index(drop=True)
    more = ra.rearrange(network, data, kinds=["shuffle"], sizes=[7, 10], draws=6, seed=5)
    more = more[(more["kind"] == "shuffle") & (more["draw"] < 3)].reset_index(drop=True)
    wide = shuffled[shuffled["size"] >= 7].reset_index(drop=True)
    pd.testing.assert_frame_equal(more, wide, check_exact=False, rtol=1e-4, atol=1e-5)
    orders = wide.loc[wide["size"] == 10, "order"]
    assert orders.is_unique
    other = ra.rearrange(network, data, kinds=["shuffle"], sizes=[10], draws=3, seed=6)
    assert set(other["order"].iloc[1:]) != set(orders)


def test_sizes_stages_and_loops(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.rearrange(network, data, kinds=["skip"], sizes=[4, 5, 40])
    assert frame["touched"].tolist() == [0, 4]
    assert frame.attrs["left_out"] == [5, 40]
    one = ra.rearrange(network, data, kinds=["reverse", "swap"], stage=0)
    assert one["size"].tolist() == [0, 1, 2, 3, 4, 2, 2, 2]
    assert one["touched"].tolist() == [0, 0, 2, 2, 4, 2, 2, 2]  # the centre of an odd run stays
    assert one["units"].tolist()[4] == "0 1 2 3"
    once = ra.rearrange(network, data, kinds=["parallel", "looped"], sizes=[10], loops=1)
    assert once["loss"].iloc[1] == pytest.approx(once["loss"].iloc[2])


def test_at_most_twenty_sizes_by_default() -> None:
    from resanalysis.experiments.rearrange import MOST_SIZES, _chosen

    there = middles((tuple(range(101)),))
    chosen = [len(spans[0]) for spans in _chosen(there, None)[0]]
    assert len(chosen) == len(set(chosen)) == MOST_SIZES
    assert (chosen[0], chosen[-1]) == (1, 101)
    assert set(np.diff(chosen)) <= {5, 6}


def test_errors(network: ResidualNetwork, data: Dataset) -> None:
    with pytest.raises(
        ValueError, match="no rearrangement 'rotate'; there are skip, reverse, shuf"
    ):
        ra.rearrange(network, data, kinds=["skip", "rotate"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no rearrangement named; there are skip"):
        ra.rearrange(network, data, kinds=[])
    with pytest.raises(ValueError, match="each rearrangement is named once, got skip, skip"):
        ra.rearrange(network, data, kinds=["skip", "skip"])
    with pytest.raises(
        ValueError, match="no middle holds 5 or 6 units; there are middles of 1, 4, 7, 10"
    ):
        ra.rearrange(network, data, sizes=[6, 5])
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        ra.rearrange(network, data, draws=0)
    with pytest.raises(ValueError, match="loops must be at least 1, got 0"):
        ra.rearrange(network, data, loops=0)
    with pytest.raises(ValueError, match="no measure 'loss'; there are accuracy, agreement"):
        ra.rearrange(network, data, measure="loss")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError,
        match="stage 7 of tiny has no two units that can change places; stages that have: 0, 1, 2",
    ):
        ra.rearrange(network, data, stage=7)
    small = ra.unravel(cifar(8), data.batch(0, 2)[0])
    with pytest.raises(
        ValueError, match="no two of the 3 units of CifarResNet have the same shape"
    ):
        ra.rearrange(small, data)


def test_without_labels_the_agreement_is_normalised(
    network: ResidualNetwork, data: Dataset
) -> None:
    bare = ra.image_dataset(images(), None, mean=[0.5] * 3, std=[0.25] * 3)
    frame = ra.rearrange(network, bare, kinds=["skip"])
    with torch.no_grad():
        answers = model()(bare.batch(0, 80)[0]).argmax(1).numpy()
    most = np.bincount(answers).max() / 80
    assert frame.attrs["measure"] == "agreement"
    np.testing.assert_allclose(frame["chance"], most)
    np.testing.assert_allclose(frame["score"], (frame["agreement"] - most) / (1 - most), atol=1e-6)
    assert frame["error"].isna().all()
    labelled = ra.rearrange(network, data, kinds=["skip"], measure="agreement")
    np.testing.assert_allclose(labelled["score"], frame["score"], atol=1e-6)
    with pytest.raises(
        ValueError, match="there are no labels to measure accuracy by; measure agreem"
    ):
        ra.rearrange(network, bare, measure="accuracy")


def test_a_network_at_chance_is_said_at_once(network: ResidualNetwork) -> None:
    same = ra.image_dataset(images(), np.full(80, 3), mean=[0.5] * 3, std=[0.25] * 3)
    with pytest.raises(
        ValueError,
        match=r"the accuracy of tiny is 0\.\d+, and always answering 3 would reach 1\.0000: there is nothing "
        r"above chance to lose; measure the agreement with the intact network instead",
    ):
        ra.rearrange(network, same)
    bare = ra.image_dataset(images()[:1], None, mean=[0.5] * 3, std=[0.25] * 3)
    with pytest.raises(
        ValueError, match="nothing above chance to lose; give it more varied examples"
    ):
        ra.rearrange(network, bare)


@pytest.fixture(scope="module")
def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=5, n_head=2, n_positions=16, use_cache=False,
        bos_token_id=0, eos_token_id=0, initializer_range=0.15,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def tokens(gpt2: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Texts whose next token is half the time the one that the network expects; the last is shorter."""
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(0, 40, (8, 1)))
    for _ in range(11):
        with torch.no_grad():
            likely = gpt2(input_ids=ids).logits[:, -1].argmax(-1)
        chosen = np.where(rng.random(8) < 0.5, likely.numpy(), rng.integers(0, 40, 8))
        ids = torch.cat([ids, torch.from_numpy(chosen)[:, None]], 1)
    mask = np.ones((8, 12), int)
    mask[-1, 7:] = 0
    path: Path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    np.savez(path, input_ids=ids.numpy(), attention_mask=mask)
    return ra.dataset(f"tokens:{path}")


@pytest.fixture(scope="module")
def by_layer(gpt2: nn.Module, tokens: Dataset) -> ResidualNetwork:
    return ra.unravel(gpt2, tokens.batch(0, 8)[0], group="layer")


def token_scores(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, float]:
    """Share of next tokens that are right, by text, and the mean loss over texts: position by position."""
    right, losses = [], []
    for text, words in zip(logits, labels, strict=True):
        hits, costs = [], []
        for place in range(len(words) - 1):
            target = int(words[place + 1])
            if target != -100:
                hits.append(float(text[place].argmax() == target))
                costs.append(float(-text[place].log_softmax(0)[target]))
        right.append(np.mean(hits))
        losses.append(np.mean(costs))
    return np.array(right), float(np.mean(losses))


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_of_a_language_model_equals_a_loop(
    kind: Any, gpt2: nn.Module, by_layer: ResidualNetwork, tokens: Dataset
) -> None:
    inputs, labels = tokens.batch(0, 8)
    assert isinstance(inputs, dict)
    assert labels is not None
    frame = ra.rearrange(by_layer, tokens, kinds=[kind], sizes=[2, 3, 5], draws=2, loops=2)
    body = gpt2.transformer
    blocked = torch.full((12, 12), -torch.inf).triu(1)
    hidden = inputs["attention_mask"][:, None, None, :] == 0
    mask = blocked[None, None].masked_fill(hidden, -torch.inf)
    blocks = body.get_submodule("h").children()
    layers = [lambda h, block=block: block(h, attention_mask=mask) for block in blocks]
    with torch.no_grad():
        whole = gpt2(**inputs).logits
        base, _ = token_scores(whole, labels)
        at = torch.arange(12)
        start = body.wte(inputs["input_ids"]) + body.wpe(at)  # type: ignore[union-attr, operator]
    kept = labels[:, 1:]
    frequency = [
        np.mean([float((row[row != -100] == token).double().mean()) for row in kept])
        for token in range(40)
    ]
    assert len(frame) == {"swap": 5, "shuffle": 6}.get(kind, 4)
    for row in frame.itertuples():
        with torch.no_grad():
            h = by_hand(str(row.kind), start, layers, [lambda h: h] * 5, row, loops=2)
            logits = gpt2.lm_head(body.ln_f(h))  # type: ignore[operator, union-attr]
        right, loss = token_scores(logits, labels)
        assert row.error == pytest.approx(1 - right.mean(), abs=1e-6)
        assert row.loss == pytest.approx(loss, rel=1e-3)
        assert row.chance == pytest.approx(max(frequency))
        expected = (right.mean() - max(frequency)) / (base.mean() - max(frequency))
        assert row.score == pytest.approx(expected, abs=1e-5)
    assert frame["error"].nunique() > 1


def test_the_baselines_of_a_language_model(gpt2: nn.Module, tokens: Dataset) -> None:
    inputs, labels = tokens.batch(0, 8)
    assert labels is not None
    network = ra.unravel(gpt2, inputs, group="layer")
    base = baselines(network, tokens, "agreement", batch_size=3)
    with torch.no_grad():
        answers = gpt2(**inputs).logits.argmax(-1)[:, :-1]  # type: ignore[arg-type]
    kept = labels[:, 1:] != -100
    shares = [
        np.mean(
            [float((row[k] == token).double().mean()) for row, k in zip(answers, kept, strict=True)]
        )
        for token in range(40)
    ]
    assert base.chance == pytest.approx(max(shares))
    assert base.answer == int(np.argmax(shares))
    assert (base.intact == 1).all()
    with torch.no_grad():
        right, _ = token_scores(gpt2(**inputs).logits, labels)  # type: ignore[arg-type]
    base = baselines(network, tokens, batch_size=3)
    assert base.measure == "accuracy"
    np.testing.assert_allclose(base.intact, right)
    expected = [
        float((row[k] == base.answer).double().mean())
        for row, k in zip(labels[:, 1:], kept, strict=True)
    ]
    np.testing.assert_allclose(base.constant, expected)


def test_texts_count_alike_however_long() -> None:
    labels = torch.full((3, 4), -100)
    labels[0], labels[1, 1], labels[2, 1] = 7, 4, 4
    logits = F.one_hot(labels.roll(-1, 1).clamp(0), 8).float()
    network = ResidualNetwork(torch.nn.Identity(), (), torch.nn.Identity())
    base = baselines(network, Batches(logits, labels), batch_size=2)
    # Token 7 is right three times of five, but in one text of three.
    assert (base.answer, base.constant.tolist(), base.intact.tolist()) == (4, [0, 1, 1], [1, 1, 1])


class Memory:
    """A store that remembers, and is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.read = 0

    def get(self, key: str) -> Any:
        self.read += key in self.kept
        return self.kept.get(key)

    def put(self, key: str, arrays: Any) -> None:
        self.kept[key] = dict(arrays)


def test_finished_blocks_are_used_again(network: ResidualNetwork, data: Dataset) -> None:
    memory = Memory()
    first = ra.rearrange(network, data, kinds=["swap"], batch_size=20, store=memory)
    assert len(memory.kept) == 4
    memory.kept.popitem()
    again = ra.rearrange(network, data, kinds=["swap"], batch_size=20, store=memory)
    assert memory.read == 3
    pd.testing.assert_frame_equal(first, again)
