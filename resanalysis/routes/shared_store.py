"""One store for several evaluations of a run, each under a word of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from resanalysis.routes.batches import BlockStore


@dataclass(frozen=True, eq=False)
class Prefixed:
    """A store whose keys begin with a word of their own, so that several evaluations can share it."""

    store: BlockStore
    prefix: str

    def get(self, key: str) -> Mapping[str, NDArray[Any]] | None:
        return self.store.get(f"{self.prefix}-{key}")

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.store.put(f"{self.prefix}-{key}", arrays)


def prefixed(store: BlockStore | None, prefix: str) -> BlockStore | None:
    """``store`` for one of several evaluations; ``None`` stays ``None``."""
    return None if store is None else Prefixed(store, prefix)
