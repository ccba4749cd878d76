"""Examples some at a time: order, padding, placement, the store, and how many go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resanalysis as ra
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import (
    FORWARD,
    Batch,
    Batches,
    Block,
    Footprint,
    chosen_batch_size,
    examples_at_once,
    joined,
    recorded_footprint,
    stream_bytes,
)
from tests import conftest
from tests.routes.test_arithmetic import flags

CPU = torch.device("cpu")


class Memory:
    """A store that counts what is put."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.put_keys: list[str] = []

    def get(self, key: str) -> Block | None:
        return self.blocks.get(key)

    def put(self, key: str, arrays: Mapping[str, Any]) -> None:
        self.blocks[key] = dict(arrays)
        self.put_keys.append(key)


def numbers(n: int = 11) -> conftest.Batches:
    return conftest.Batches(torch.arange(n).float()[:, None], torch.arange(n))


def doubled(batch: Batch) -> Block:
    assert isinstance(batch.inputs, Tensor)
    return {"twice": batch.own(2 * batch.inputs.T).numpy()}


@pytest.mark.parametrize("size", [1, 4, 11, 50])
@pytest.mark.parametrize("filled", [False, True])
def test_every_example_once_and_in_order(size: int, filled: bool) -> None:
    batches = Batches(numbers(), size, CPU, filled=filled)
    found = joined(batches.each("x", doubled))["twice"]
    assert found.tolist() == [[2.0 * i for i in range(11)]]


def test_a_batch_is_filled_with_its_last_example() -> None:
    batches = Batches(numbers(), 4, CPU, filled=True)
    last = batches.batch(8, 11)
    assert isinstance(last.inputs, Tensor)
    assert last.labels is not None
    assert last.inputs[:, 0].tolist() == [8, 9, 10, 10]
    assert last.labels.tolist() == [8, 9, 10, 10]
    assert (last.rows, last.own(last.labels).tolist()) == (4, [8, 9, 10])
    assert replace(batches, filled=False).batch(8, 11).rows == 3


class Tokens:
    """Named inputs of several types, one of them no tensor."""

    def __len__(self) -> int:
        return 3

    def batch(self, start: int, stop: int) -> tuple[dict[str, Any], None]:
        ids = torch.arange(12).reshape(3, 4)[start:stop]
        mask = torch.ones_like(ids)
        return {"input_ids": ids, "attention_mask": mask, "scale": ids / 2, "flag": True}, None


def test_floats_are_cast_and_the_rest_stays() -> None:
    batch = Batches(Tokens(), 2, CPU, dtype=torch.float64, filled=True).batch(2, 3)  # type: ignore[arg-type]
    inputs: Any = batch.inputs
    assert inputs["scale"].dtype is torch.float64
    assert inputs["input_ids"].dtype is torch.int64
    assert inputs["flag"] is True
    assert inputs["input_ids"].shape == (2, 4)
    assert batch.labels is None
    kept = batch.kept_tokens
    assert kept is not None
    assert (kept.dtype, kept.shape) == (torch.bool, (2, 4))
    assert Batches(numbers(), 2, CPU).batch(0, 2).kept_tokens is None


def test_images_are_laid_out_as_wanted() -> None:
    images = conftest.Batches(torch.randn(2, 3, 4, 4), None)
    for wanted in (False, True):
        found = Batches(images, 2, CPU, channels_last=wanted).batch(0, 2).inputs
        assert isinstance(found, Tensor)
        assert found.is_contiguous(memory_format=torch.channels_last) is wanted


def test_what_is_known_is_not_measured_again() -> None:
    store = Memory()
    begun: list[int] = []

    def begin(batch: Batch) -> Any:
        begun.append(batch.start)
        return lambda name: {name: np.array([batch.start])}

    batches = Batches(numbers(), 4, CPU, store=store)
    first = batches.measured({"a": 1, "b": 5}, begin, "both")
    assert begun == [0, 4, 8]  # once for all parts of a batch
    assert list(first) == ["a", "b"]
    assert len(set(store.put_keys)) == len(store.put_keys) == 6
    del store.blocks["b-00000004-00000008"]
    again = batches.measured({"a": 1, "b": 5}, begin, "both")
    assert begun == [0, 4, 8, 4]
    assert store.put_keys[6:] == ["b-00000004-00000008"]
    for name in first:
        assert [b[name][0] for b in again[name]] == [0, 4, 8]


def test_progress_ends_at_the_last_example(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    advanced: list[int] = []
    totals: list[int] = []

    @contextmanager
    def bar(description: str, total: int, *, show: bool) -> Any:
        totals.append(total)
        yield advanced.append

    monkeypatch.setattr("resanalysis.routes.batches.progress_bar", bar)
    Batches(numbers(), 4, CPU).measured(
        {"a": 3, "b": 4, "c": 7}, lambda batch: lambda name: {}, "three"
    )
    assert totals == [11]
    assert sum(advanced) == 11
    assert min(advanced) >= 0


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return ra.unravel(conftest.cifar(8), torch.randn(2, 3, 16, 16))


def test_the_size_is_the_graphs_or_the_users_or_what_fits(network: ResidualNetwork) -> None:
    data = numbers(1000)
    assert Batches.of(network, data, batch_size=7).size == 7
    fixed = Batches.of(replace(network, batch_size=5), data, batch_size=7)
    assert (fixed.size, fixed.filled) == (5, True)
    assert Batches.of(network, data).size == chosen_batch_size(network, 1000)
    assert Batches.of(replace(network, arithmetic="tf32"), data).arithmetic == "tf32"


def test_the_rule_of_the_size_by_hand(network: ResidualNetwork) -> None:
    one = stream_bytes(network)
    assert one == 4 * 4 * 16 * 16
    plenty = 2**40
    # 8 MiB of cache hold 2048 streams; a recorded pass works on eight at a time.
    assert chosen_batch_size(network, 10_000, memory=plenty) == 2048
    assert chosen_batch_size(network, 10_000, recorded_footprint(9), memory=plenty) == 256
    assert chosen_batch_size(network, 100, memory=plenty) == 100  # all there are
    held = Footprint(live=1, held=10, output=0)
    assert examples_at_once(CPU, 1000, one, held, memory=100 * one) == 8  # 10, to a power of two
    assert examples_at_once(CPU, 1000, one, held, memory=0) == 1
    # Streams that no cache holds: sixteen of them, or two for recorded passes.
    large = 2**24
    assert examples_at_once(CPU, 1000, large, FORWARD, memory=plenty) == 16
    assert examples_at_once(CPU, 1000, large, recorded_footprint(9), memory=plenty) == 2
    assert stream_bytes(network.to("cpu", torch.float64)) == 2 * one


def test_flags_of_the_arithmetic_are_set_while_it_runs() -> None:
    seen: list[object] = []

    def look(batch: Batch) -> Block:
        seen.append(flags()[1])
        return {}

    for arithmetic in ("float32", "tf32"):
        Batches(numbers(2), 2, CPU, arithmetic=arithmetic).each("x", look)  # type: ignore[arg-type]
    assert seen == ["ieee", "tf32"]


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    """Every example once, in order; blocks that were finished before stay; said once for each halving."""
    store = Memory()

    def small(batch: Batch) -> Block:
        if batch.start >= 4 and batch.rows > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: no memory")
        return doubled(batch)

    batches = Batches(numbers(), 4, CPU, store=store)
    with pytest.warns(
        UserWarning, match="4 examples at a time do not fit the memory: going on with 2"
    ):
        found = joined(batches.each("x", small))["twice"]
    assert found.tolist() == [[2.0 * i for i in range(11)]]
    assert store.put_keys[:3] == [
        "x-00000000-00000004",
        "x-00000004-00000006",
        "x-00000006-00000008",
    ]


@pytest.mark.parametrize(
    ("size", "filled", "text"),
    [(1, False, "DefaultCPUAllocator"), (4, True, "DefaultCPUAllocator"), (4, False, "a mistake")],
)
def test_what_halving_cannot_mend_is_raised(size: int, filled: bool, text: str) -> None:
    def never(batch: Batch) -> Block:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=text):
        Batches(numbers(), size, CPU, filled=filled).each("x", never)
