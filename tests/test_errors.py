"""Whatever a file says fits on a line and tells a terminal nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resanalysis.checkpoint import CheckpointError
from resanalysis.datasets import DataError
from resanalysis.errors import out_of_memory, printable, quoted, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer1.0 × é 🙂", "layer1.0 × é 🙂"),
        ("\x1b[2Jgone\r\n", "\\x1b[2Jgone\\r\\n"),
        ("left\u202eright\u2028", "left\\u202eright\\u2028"),
        ("\udcff\x00\x9b", "\\udcff\\x00\\x9b"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert str(CheckpointError(text)) == expected
    assert str(DataError(text)) == expected


@given(st.text(max_size=300), st.integers(2, 80))
@settings(max_examples=200, deadline=None)
def test_every_text_becomes_printable_and_short(text: str, most: int) -> None:
    found = printable(text, most)
    assert found.isprintable()
    assert len(found) <= most
    if text.isprintable() and len(text) <= most:
        assert found == text


def test_long_texts_keep_both_ends() -> None:
    found = printable("begin" + "x" * 10**6 + "end", 40)
    assert found.startswith("begin")
    assert found.endswith("end")
    assert len(found) == 40


def test_values_whose_printed_form_never_ends() -> None:
    nested: object = [1]
    for _ in range(60):
        nested = [nested, nested]
    started = time.perf_counter()
    for value in (nested, {"a": nested}, (nested,), 10**100_000, [10**100_000], "x" * 10**7):
        assert len(shown(value)) <= 60
        assert len(quoted(value)) <= 60
    assert time.perf_counter() - started < 1
    assert shown(10**100_000) == "a whole number of 332193 bits"
    assert (shown("a'b"), quoted("ab"), shown([1, "a"])) == ("a'b", "'ab'", "[1, 'a']")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_memory_that_ran_out_is_known_by_what_is_said(error: Exception) -> None:
    assert out_of_memory(error)
    assert not out_of_memory(ImportError("no module named memory"))
