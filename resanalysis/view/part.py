"""A part inside a larger model: the part is unraveled, everything around it runs as it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.export import Dim

from resanalysis.checkpoint import CheckpointError, submodule_of
from resanalysis.network import Inputs, Piece, ResidualNetwork, Side, run_piece
from resanalysis.view.assemble import assemble
from resanalysis.view.calling import as_arguments, of_size
from resanalysis.view.capture import Captured, capture
from resanalysis.view.check import check_examples_apart, model_output
from resanalysis.view.errors import UnravelError
from resanalysis.view.outputs import logits_of
from resanalysis.view.trunk import Trunk, find_trunk, is_float
from resanalysis.view.undisturbed import evaluation_mode

_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Call:
    """What a model was called with; it travels behind the side inputs to the head."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class _Reached(Exception):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


class Host(nn.Module):
    """A larger model with the place of the part in it."""

    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__()
        self.model = model
        self.path = path

    @property
    def part(self) -> nn.Module:
        """The part's own module."""
        return self.model.get_submodule(self.path)

    def call_of_part(self, call: Call) -> Call:
        """What the model calls the part with; the model runs no further than that."""

        def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached(Call(args, kwargs))

        # A forward can only be left in its middle by an exception. Else the part and all behind it would run
        # for nothing.
        handle = self.part.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.model(*call.args, **call.kwargs)
        except _Reached as reached:
            return reached.call
        finally:
            handle.remove()
        raise UnravelError(f"the model never runs its part {self.path} on this input")

    def output(self, call: Call, part_output: Any) -> Any:
        """What the model returns when the part returns ``part_output``."""
        with _instead(self.part, part_output):
            return self.model(*call.args, **call.kwargs)


@contextmanager
def _instead(module: nn.Module, output: Any) -> Generator[None, None, None]:
    # In the instance and not its class, whose other instances run on. Hooks of the part, which other parts may
    # live on (feature extractors), still run around it.
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own


class HostStem(nn.Module):
    """The model up to its part, then the part's own stem."""

    def __init__(self, host: Host, stem: nn.Module) -> None:
        super().__init__()
        self.host = host
        self.stem = stem

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Side]:
        call = Call(args, kwargs)
        inner = self.host.call_of_part(call)
        h, side = self.stem(inner.args, dict(inner.kwargs))
        return h, (*side, call)


class HostHead(nn.Module):
    """The part's own head, then the model as it goes on with what the part returns.

    The body of a piece that reads everything beside the stream: the part's side inputs, the call of the
    model behind them, and what was read of the stream on the way.
    """

    def __init__(
        self, host: Host, head: nn.Module, side: int, returned: Returned, output: str | None
    ) -> None:
        super().__init__()
        self.host = host
        self.head = head
        self._side = side
        self._returned = returned
        self._output = output

    def forward(self, h: Tensor, *beside: Any) -> Any:
        call: Call = beside[self._side]
        made = run_piece(self.head, h, (*beside[: self._side], *beside[self._side + 1 :]))
        # `made` has what is computed. Constants (None, a name) go back to where they stood between.
        leaves = [made[x.index] if isinstance(x, _Made) else x for x in self._returned.leaves]
        output = self.host.output(call, pytree.tree_unflatten(leaves, self._returned.spec))
        logits = logits_of(output, self._output)
        return output if logits is None else logits


@dataclass(frozen=True)
class _Made:
    """The place of one of the head's tensors in what the part returns."""

    index: int


@dataclass(frozen=True, eq=False)
class Returned:
    """What the part returns: its leaves, a ``_Made`` for each that the head makes, and their nesting."""

    leaves: tuple[Any, ...]
    spec: Any


class _Called(nn.Module):
    """A part called with its arguments as two values, so that it can be captured with both kinds."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.part(*args, **kwargs)


def unravel_part(
    model: nn.Module, example: Inputs, path: str, name: str, output: str | None = None
) -> ResidualNetwork:
    """The unraveled view of a part, inside the model that it runs in.

    Parameters
    ----------
    example : a batch of at least two to call the whole model with.
    path : module path of the part; the model must run it once a pass.
    output : name of what the whole model returns that is analysed; the rule of ``outputs`` if left out.

    Returns
    -------
    ResidualNetwork : its stem is all of the model before the part's first unit, its head all after its
        last; units are named by their path in the whole model.

    Raises
    ------
    UnravelError : if the model does not run the part exactly once, the part cannot be unraveled, or the
        model with the part in pieces returns something else.
    """
    try:
        submodule_of(model, path)
    except CheckpointError as error:
        raise UnravelError(str(error)) from None
    host = Host(model, path)
    with evaluation_mode(model), torch.no_grad():
        # Of the part's inputs any dimension may follow the batch: windows, regions, tokens laid flat. Those
        # that differ between two batches do.
        calls = [_one_call(host, example, size) for size in (2, 3)]
        part = _Called(host.part).eval()
        captured = capture(part, (calls[0].args, dict(calls[0].kwargs)), _changing(calls))
        network = _assembled(captured, path, name)
        side = len(network.enter(example_of(calls[0]))[1])
        head = HostHead(host, network.head, side, _form(captured), output)
        hosted = replace(
            network,
            stem=HostStem(host, network.stem),
            # Side inputs of the part, then the call, then the taps: what `reach` reads of the stream goes
            # behind all that the stem gave.
            head=Piece(head, range(side + 1 + len(network.taps))),
        )
        outputs = check_same_output(hosted, model, example, output)
        check_examples_apart(model, _analysed(hosted, model, output), example, name)
    return replace(hosted, outputs=outputs)


def _analysed(
    hosted: ResidualNetwork, model: nn.Module, output: str | None
) -> Callable[[Inputs], Tensor]:
    """What may not depend on the other examples: the logits, or the stream where there are none."""

    def run(inputs: Inputs) -> Tensor:
        logits = logits_of(model_output(model, inputs), output)
        if logits is None:  # the stream behind the last unit, which is there in any case
            return hosted.walk(*hosted.enter(inputs))[0]
        return logits

    return run


def example_of(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call as the captured part takes it."""
    return call.args, dict(call.kwargs)


def _one_call(host: Host, example: Inputs, size: int) -> Call:
    calls: list[Call] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(Call(args, kwargs))

    handle = host.part.register_forward_pre_hook(note, with_kwargs=True)
    try:
        args, kwargs = as_arguments(of_size(example, size))
        host.model(*args, **kwargs)
    except Exception as error:
        raise UnravelError(
            f"{type(host.model).__name__} cannot be called with the example: {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        ) from error
    finally:
        handle.remove()
    if len(calls) != 1:
        raise UnravelError(
            f"the model runs its part {host.path} {len(calls)} times a pass; name a part that runs once"
        )
    return calls[0]


def _changing(calls: list[Call]) -> Any:
    """The dimensions of each of the part's inputs that change with the batch."""

    def dimensions(two: Any, three: Any) -> Any:
        if not isinstance(two, Tensor):
            return None
        pairs = enumerate(zip(two.shape, three.shape, strict=True))
        return {number: Dim.AUTO for number, (a, b) in pairs if a != b} or None

    return pytree.tree_map(dimensions, example_of(calls[0]), example_of(calls[1]))


def _assembled(captured: Captured, path: str, name: str) -> ResidualNetwork:
    outputs = tuple(leaf for leaf in captured.leaves if isinstance(leaf, fx.Node))
    network = assemble(captured, _longest(captured, outputs), name, outputs)
    units = tuple(
        replace(unit, name=_in_model(path, unit.name), group=_in_model(path, unit.group))
        for unit in network.units
    )
    return replace(network, units=units)


def _longest(captured: Captured, outputs: tuple[fx.Node, ...]) -> Trunk:
    """Of what the part returns, the output with the longest chain; of two, the last."""
    best: Trunk | None = None
    problem: UnravelError | None = None
    for output in outputs:
        if not is_float(output):
            continue
        try:
            trunk = find_trunk(captured.module.graph, output)
        except UnravelError as error:
            problem = error
            continue
        if best is None or len(trunk.additions) >= len(best.additions):
            best = trunk
    if best is None:
        raise problem or UnravelError("the part returns no float tensor")
    return best


def _in_model(path: str, name: str) -> str:
    return path + name.removeprefix("part") if name.startswith("part") else f"{path}.{name}"


def _form(captured: Captured) -> Returned:
    leaves: list[Any] = []
    for leaf in captured.leaves:
        made = sum(isinstance(before, _Made) for before in leaves)
        leaves.append(_Made(made) if isinstance(leaf, fx.Node) else leaf)
    return Returned(tuple(leaves), captured.out_spec)


def check_same_output(
    hosted: ResidualNetwork, model: nn.Module, example: Inputs, output: str | None = None
) -> int:
    """Everything the model returns, with the part in pieces, against the model itself.

    Returns
    -------
    int : numbers in the logits for one example, 0 if it has none.
    """
    args, kwargs = as_arguments(example)
    with torch.no_grad():
        whole = model(*args, **kwargs)
        pieces = hosted(example)
    logits = logits_of(whole, output)
    expected = pytree.tree_leaves(whole if logits is None else logits)
    found = pytree.tree_leaves(pieces)
    if len(expected) != len(found):
        raise UnravelError(
            f"{hosted.name} returns {len(expected)} values, and {len(found)} with its part in pieces"
        )
    for one, other in zip(expected, found, strict=True):
        if not isinstance(one, Tensor) or not one.is_floating_point() or not one.numel():
            continue
        shape = tuple(one.shape)
        if shape != tuple(other.shape):
            raise UnravelError(
                f"{hosted.name} returns a tensor of shape {shape}, and of {tuple(other.shape)} with its "
                "part in pieces"
            )
        largest = one.abs().max().clamp_min(1e-12)
        difference = float((one - other).abs().max() / largest)
        # Not `>`, which NaN is not either.
        if not difference <= _TOLERANCE:
            raise UnravelError(
                f"{hosted.name} with its part in pieces returns something else: the outputs differ by "
                f"{difference:.2g} of the largest one"
            )
    return 0 if logits is None else logits[0].numel()
