"""Examples some at a time, with what is known of them kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from resanalysis.progress import progress_bar
from resanalysis.routes.evaluator import BlockStore

Block = Mapping[str, NDArray[Any]]


def stored_blocks(
    name: str,
    examples: int,
    size: int,
    measure: Callable[[int, int], Block],
    *,
    description: str | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> list[Block]:
    """``measure(start, stop)`` for all examples in order, ``size`` at a time; finished blocks are not repeated.

    Parameters
    ----------
    name : of the blocks in the store.
    description : what the progress says; the name if left out.
    """
    blocks: list[Block] = []
    with progress_bar(description or name, examples, show=show_progress) as advance:
        for start in range(0, examples, size):
            stop = min(start + size, examples)
            key = f"{name}-{start:08d}-{stop:08d}"
            block = None if store is None else store.get(key)
            if block is None:
                block = measure(start, stop)
                if store is not None:
                    store.put(key, block)
            blocks.append(block)
            advance(stop - start)
    return blocks
