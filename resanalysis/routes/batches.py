"""A data set, some examples at a time: on the device, kept in the store, with progress.

Every loop over examples is ``Batches.measured``, and work is divided nowhere else: ``bounds`` says which are
taken together, each process of a run takes its share of these, and what is returned holds the blocks of all
of them in order, in every process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError, out_of_memory
from resanalysis.network import Arithmetic, Inputs, ResidualNetwork
from resanalysis.progress import progress_bar
from resanalysis.ranks import all_of, of_the_first, ranks
from resanalysis.routes.arithmetic import computing_in

# What stays in a CPU's cache makes a unit up to twice as fast.
_CACHED_BYTES = 8 * 2**20
# Fewer streams than these at a time, and what a unit costs at least, whatever its size, is most of it.
_FEWEST_STREAMS, _MOST_STREAMS = 16, 4096

Block = Mapping[str, NDArray[Any]]
"""What is known of some examples: arrays by name, as they are kept."""


class EvaluationData(Protocol):
    """A data set as evaluation needs it; ``resanalysis.datasets.Dataset`` is one."""

    def __len__(self) -> int: ...

    def batch(self, start: int, stop: int) -> tuple[Inputs, Tensor | None]:
        """Inputs and labels of examples ``start`` to ``stop``."""
        ...


class BlockStore(Protocol):
    """Keeps finished blocks, so that an interrupted run goes on."""

    def get(self, key: str) -> Block | None: ...

    def put(self, key: str, arrays: Block) -> None: ...


def kept(store: BlockStore | None, key: str, make: Callable[[], Block]) -> Block:
    """The block of this key, made and put into the store where it is not there."""
    block = None if store is None else store.get(key)
    if block is None:
        block = make()
        if store is not None:
            store.put(key, block)
    return block


@dataclass(frozen=True)
class Footprint:
    """What is alive of one example while it is measured.

    Attributes
    ----------
    live : streams that the work on one unit touches; they should stay in a CPU's cache.
    held : streams that are kept at the same time; they must fit the memory.
    output : bytes for each number of the output.
    """

    live: int
    held: int
    output: int


# A branch widens the stream at most fourfold, and some eight streams wait at branchings of the tree. Of the
# output, the intact one is kept, and one more is scored in pieces.
FORWARD = Footprint(live=1, held=16, output=12)


def recorded_footprint(held: int) -> Footprint:
    """Of a pass that is differentiated, of which ``held`` streams are kept.

    Pulling a gradient through a unit reads all that its branch kept on the way, some eight streams where
    going forward has one; and the loss keeps the output, its softmax and their gradients in double precision.
    """
    return Footprint(live=8, held=held, output=32)


def examples_at_once(
    device: torch.device,
    examples: int,
    stream: int,
    footprint: Footprint = FORWARD,
    *,
    outputs: int = 0,
    memory: int | None = None,
) -> int:
    """A power of two that stays inside the memory budget and, on a CPU, near the cache.

    It depends on the network and the device alone while memory is plenty, so that the same command
    gives the same table.

    Parameters
    ----------
    stream : bytes of the widest stream of one example.
    outputs : numbers in the output of one example.
    memory : bytes that may be taken; a quarter of what is free if left out.
    """
    budget = free_memory(device) // 4 if memory is None else memory
    fits = budget // (footprint.held * stream + footprint.output * outputs)
    cached = _CACHED_BYTES // stream if device.type == "cpu" else _MOST_STREAMS
    streams = min(max(cached, _FEWEST_STREAMS), _MOST_STREAMS)
    size = max(1, min(fits, streams // footprint.live, examples))
    # Down to a power of two: what is free differs a little from run to run, and kernels of another batch size
    # sum in another order.
    return size if size == examples else 1 << (size.bit_length() - 1)


def chosen_batch_size(
    network: ResidualNetwork,
    examples: int,
    footprint: Footprint = FORWARD,
    *,
    memory: int | None = None,
) -> int:
    """Examples of this network at a time; see ``examples_at_once``."""
    stream = stream_bytes(network)
    return examples_at_once(
        network.device, examples, stream, footprint, outputs=network.outputs, memory=memory
    )


def stream_bytes(network: ResidualNetwork) -> int:
    """Bytes of the widest stream of one example."""
    shapes = [shape for unit in network.units for shape in (unit.in_shape, unit.out_shape)]
    return network.float_type.itemsize * max((int(np.prod(shape)) for shape in shapes), default=1)


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device; 2 GiB where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 2 * 2**30


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples as a network takes them.

    Attributes
    ----------
    start, stop : their positions in the data.
    rows : examples in the tensors: more than there are where the last one fills them up.
    inputs, labels : on the device.
    """

    start: int
    stop: int
    rows: int
    inputs: Inputs
    labels: Tensor | None

    @property
    def kept_tokens(self) -> Tensor | None:
        """Which tokens (rows, T) the attention mask keeps, if there is one."""
        mask = self.inputs.get("attention_mask") if isinstance(self.inputs, Mapping) else None
        return mask.bool() if isinstance(mask, Tensor) else None

    def own(self, values: Any) -> Any:
        """Values (…, rows) of the examples that there are (…, stop − start)."""
        return values[..., : self.stop - self.start]


@dataclass(frozen=True, eq=False)
class Batches:
    """A data set, seen some examples at a time.

    Attributes
    ----------
    data : the examples.
    size : how many at a time.
    device : where they go.
    dtype : what floats are cast to; they stay as they are if left out.
    channels_last : whether images are laid out so.
    filled : whether the last batch is filled up to ``size``, since the graph takes no other.
    arithmetic : what is measured is computed in.
    store : finished blocks are read from it and written to it.
    """

    data: EvaluationData
    size: int
    device: torch.device
    dtype: torch.dtype | None = None
    channels_last: bool = False
    filled: bool = False
    arithmetic: Arithmetic = "float32"
    store: BlockStore | None = None
    show_progress: bool = False

    @staticmethod
    def of(
        network: ResidualNetwork,
        data: EvaluationData,
        footprint: Footprint = FORWARD,
        *,
        batch_size: int | None = None,
        memory: int | None = None,
        dtype: torch.dtype | None = None,
        store: BlockStore | None = None,
        show_progress: bool = False,
    ) -> Batches:
        """As ``network`` takes them, where it is: the size its graph fixes, the user's, or what fits.

        Parameters
        ----------
        footprint, memory : what one example takes, and what there is.
        """
        size = network.batch_size or batch_size
        if not getattr(data, "one_size", True):
            size = _one_at_a_time(size)
        if not size:  # by the memory that is free, which is not the same in every process
            size = of_the_first(chosen_batch_size(network, len(data), footprint, memory=memory))
        return Batches(
            data=data,
            size=size,
            device=network.device,
            dtype=dtype,
            channels_last=network.channels_last,
            filled=network.batch_size is not None,
            arithmetic=network.arithmetic,
            store=store,
            show_progress=show_progress,
        )

    def bounds(self) -> Iterator[tuple[int, int]]:
        """Start and stop of each batch."""
        for start in range(0, len(self.data), self.size):
            yield start, min(start + self.size, len(self.data))

    def batch(self, start: int, stop: int) -> Batch:
        """Examples ``start`` to ``stop``, on the device."""
        inputs, labels = self.data.batch(start, stop)
        rows = self.size if self.filled else stop - start

        def placed(value: Any) -> Any:
            return self._placed(value, rows - (stop - start))

        return Batch(start, stop, rows, pytree.tree_map(placed, inputs), placed(labels))

    def _placed(self, value: Any, missing: int) -> Any:
        if not isinstance(value, Tensor):
            return value
        if missing and value.ndim:
            # Copies of a real example, and not zeros: nothing new can overflow. `Batch.own` cuts them off
            # again.
            value = torch.cat([value, value[-1:].expand(missing, *value.shape[1:])])
        layout = torch.preserve_format
        if self.channels_last and value.ndim == 4:
            layout = torch.channels_last
        dtype = self.dtype if value.is_floating_point() else None
        return value.to(device=self.device, dtype=dtype, memory_format=layout)

    def each(
        self, name: str, measure: Callable[[Batch], Block], *, description: str | None = None
    ) -> list[Block]:
        """``measure`` of every batch, in order; blocks that are in the store are not measured again.

        Parameters
        ----------
        name : of the blocks in the store.
        description : what the progress says; the name if left out.
        """
        found = self.measured(
            {name: 1}, lambda batch: lambda _: measure(batch), description or name
        )
        return found[name]

    def measured(
        self,
        parts: Mapping[str, int],
        begin: Callable[[Batch], Callable[[str], Block]],
        description: str,
    ) -> dict[str, list[Block]]:
        """Several blocks of every batch, each kept by itself.

        Parameters
        ----------
        parts : what is measured of a batch by the name it is kept under, with its share of the work.
        begin : called with a batch of which something is not known yet; returns what measures a part.

        Returns
        -------
        dict : of each part the blocks of all batches, in order.
        """
        mine: dict[int, list[dict[str, Block]]] = {}
        # In turns, and not the first half to the first process: examples that lie together are often alike, and
        # as long.
        shares = [share for share in enumerate(self.bounds()) if ranks().takes(share[0])]
        examples = sum(stop - start for _, (start, stop) in shares)
        # Once halved, smaller for all that follow: later batches are as large. Blocks are kept by their bounds,
        # so that one of another size is never taken for it.
        size = self.size
        with (
            computing_in(self.arithmetic),
            progress_bar(description, examples, show=self.show_progress) as advance,
        ):
            for number, (start, stop) in shares:
                mine[number] = []
                while start < stop:
                    end = min(start + size, stop)
                    try:
                        mine[number].append(self._blocks(parts, begin, start, end, advance))
                    except (RuntimeError, MemoryError) as error:
                        size = self._halved(end - start, error)
                    else:
                        start = end
        # In the order of the data, whoever measured them: sums over blocks are then the same for any number of
        # processes.
        every = all_of(mine)
        ordered = [blocks for number in sorted(every) for blocks in every[number]]
        return {name: [blocks[name] for blocks in ordered] for name in parts}

    def _blocks(
        self,
        parts: Mapping[str, int],
        begin: Callable[[Batch], Callable[[str], Block]],
        start: int,
        stop: int,
        advance: Callable[[int], None],
    ) -> dict[str, Block]:
        """Each part's block of one batch, from the store or measured."""
        # Begun when its first part is not in the store, and once for all of them.
        begun = cache(lambda: begin(self.batch(start, stop)))
        found: dict[str, Block] = {}
        work, done, told = sum(parts.values()), 0, 0
        try:
            for name, share in parts.items():
                key = f"{name}-{start:08d}-{stop:08d}"
                found[name] = kept(self.store, key, partial(_part, begun, name))
                done += share
                # In whole examples: a bar that counts fractions would end short of the last one.
                before, told = told, (stop - start) * done // work
                advance(told - before)
        except (RuntimeError, MemoryError):
            advance(-told)  # it will be begun again, with fewer examples
            raise
        return found

    def _halved(self, size: int, error: BaseException) -> int:
        """Half as many examples at a time, where so many do not fit; else the error is another's."""
        if not out_of_memory(error) or size == 1 or self.filled:
            raise error
        half = (size + 1) // 2
        warnings.warn(
            f"{size} examples at a time do not fit the memory: going on with {half}", stacklevel=2
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return half


def _one_at_a_time(size: int | None) -> int:
    """Images of several sizes would be padded to one, and what is found in one depend on the others.

    Raises
    ------
    ResanalysisError : if another number was asked for.
    """
    if size is not None and size > 1:
        raise ResanalysisError(
            f"{size} examples at a time, and the images are of several sizes: leave --batch-size out, and they "
            "are taken one at a time"
        )
    return 1


def _part(begun: Callable[[], Callable[[str], Block]], name: str) -> Block:
    return begun()(name)


def joined(blocks: Sequence[Block]) -> dict[str, NDArray[Any]]:
    """Blocks side by side along their last axis, the examples."""
    return {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in blocks[0]}
