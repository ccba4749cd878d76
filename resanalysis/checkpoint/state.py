"""State dicts: the tensors of a file, and which of them are meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.errors import CheckpointError
from resanalysis.checkpoint.filling import filled, named
from resanalysis.errors import printable, shown
from resanalysis.models.architecture import Architecture
from resanalysis.models.recognise import common_key_names, recognised

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "ema_state_dict", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_OUTERMOST = "."  # what --state calls the tensors that are in no dict of their own
_DEEPEST = 3


@dataclass(frozen=True)
class Wanted:
    """What a user says of a state dict.

    Attributes
    ----------
    arch : what it belongs to; recognised where left out.
    state : which one, where a file holds several, such as ``ema``.
    remap : take the tensors in their order where their names do not fit.
    """

    arch: str | None = None
    state: str | None = None
    remap: bool = False

    def __str__(self) -> str:
        """The first option that was given, as on the command line; empty if there is none."""
        if self.arch is not None:
            return f"--arch {self.arch}"
        if self.state is not None:
            return f"--state {self.state}"
        return "--remap" if self.remap else ""


def model_of_state(path: Path, content: Any, wanted: Wanted) -> tuple[nn.Module, Architecture]:
    """The model a bare or wrapped state dict belongs to, filled with it.

    Raises
    ------
    CheckpointError : if there are no tensors, if their architecture is not known, or if they do not
        fit it.
    """
    state = _common_names(state_dict(path, content, wanted.state), path)
    if wanted.arch is not None:
        architecture = named(wanted.arch, state)
    else:
        found = recognised(state)
        if found is None:
            keys = ", ".join(shown(key) for key in list(state)[:3])
            raise CheckpointError(
                f"{path}: the architecture is not recognised from its {len(state)} tensors ({keys}, "
                "…); name it with --arch NAME, or give a function that makes the model: "
                "python:package.module:factory"
            )
        architecture = found
    guess = wanted.arch is not None
    return filled(architecture, state, path, named=guess, remap=wanted.remap), architecture


def state_dict(path: Path, content: Any, name: str | None = None) -> dict[str, Tensor]:
    """The tensors of a bare or wrapped state dict, without the prefixes wrappers leave.

    Parameters
    ----------
    name : which state dict, where there are several; left out, the first by the tool's order is taken,
        with a warning if another one differs from it.

    Raises
    ------
    CheckpointError : if there are none, or some are of a kind that is no weight.
    """
    found = dict(_states(content, _OUTERMOST))
    if not found:
        raise CheckpointError(f"{path} holds no state dict but {described(content)}")
    if name is not None and name not in found:
        there = ", ".join(shown(other) for other in found)
        raise CheckpointError(f"{path} holds no state dict {name!r}; there are {there}")
    chosen = name if name is not None else _first(found)
    tensors = _without_prefixes(_by_text(found[chosen], path))
    check_plain(tensors, path)
    if name is None:
        _tell_of_others(path, chosen, tensors, found)
    return tensors


def _states(content: Any, place: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every dict of a file that holds tensors, by its name for ``--state``, innermost first.

    Dicts of any name are looked for at the outermost level, as an average of the weights goes by many
    names; further in only those that wrap a state dict, not the thousands that an optimizer keeps.
    """
    if not isinstance(content, Mapping):
        return
    if place.count(".") < _DEEPEST:
        for key in _wrappers(content, place):
            inner = key if place == _OUTERMOST else f"{place}.{key}"
            yield from _states(content[key], inner)
    if any(isinstance(value, Tensor) for value in content.values()):
        yield place, content


def _wrappers(content: Mapping[Any, Any], place: str) -> list[str]:
    known = [key for key in _WRAPPERS if key in content]
    if place != _OUTERMOST:
        return known
    return known + [key for key in content if isinstance(key, str) and key not in _WRAPPERS]


def _first(found: Mapping[str, Mapping[Any, Any]]) -> str:
    """The state dict that is taken where none is named: of a known name, else the outermost."""
    for place in found:
        if all(part in _WRAPPERS for part in place.split(".")):
            return place
    return _OUTERMOST if _OUTERMOST in found else next(iter(found))


def _by_text(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            name = key if isinstance(key, str) else shown(key)
            if name in tensors:
                raise CheckpointError(f"{path} holds two tensors that are called {shown(name)}")
            tensors[name] = value
    return tensors


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            # All or none: what some tensors alone begin with is a part of the model (`model.0` beside `fc`).
            if all(key.startswith(prefix) and key != prefix for key in tensors):
                tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
                stripped = True
    return tensors


def _tell_of_others(
    path: Path, chosen: str, tensors: dict[str, Tensor], found: Mapping[str, Mapping[Any, Any]]
) -> None:
    """A file with trained and averaged weights says two things; the user learns which one is measured."""
    others = [
        place
        for place, state in found.items()
        if place != chosen and _is_rival(place, _without_prefixes(_by_text(state, path)), tensors)
    ]
    if others:
        warnings.warn(
            printable(
                f"{path} holds several state dicts with different weights: {shown(chosen)} is read, and not "
                f"{', '.join(shown(place) for place in others[:4])}; choose with --state NAME"
            ),
            stacklevel=2,
        )


def _is_rival(place: str, other: dict[str, Tensor], chosen: dict[str, Tensor]) -> bool:
    """Whether a dict could be the model as well, and says something else than the chosen one."""
    if other.keys() != chosen.keys():
        # Step counters and best scores lie beside a state dict; matrices there are weights.
        weights = any(value.ndim > 1 for value in other.values())
        return weights and all(part in (*_WRAPPERS, "") for part in place.split("."))
    return any(_differs(other[key], chosen[key]) for key in chosen)


def _differs(one: Tensor, other: Tensor) -> bool:
    if _odd_kind(one) is not None or one.dtype is not other.dtype:
        return True
    return not torch.equal(one, other)


def _common_names(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state under the names of our models; refused if two tensors would get the same one."""
    # The renaming looks at names alone: carried as values, they show which of two was the last.
    names = cast(Mapping[str, Tensor], {key: key for key in state})
    backwards = cast(Mapping[str, Tensor], {key: key for key in reversed(list(state))})
    renamed = cast(dict[str, str], common_key_names(names))
    other = cast(dict[str, str], common_key_names(backwards))
    for name, key in renamed.items():
        if other[name] != key:
            raise CheckpointError(
                f"{path} holds two tensors for {shown(name)}: {shown(other[name])} and {shown(key)}; "
                "leave out the one that is not meant"
            )
    return {name: state[key] for name, key in renamed.items()}


def check_plain(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse the tensors that a network of floats cannot take.

    Raises
    ------
    CheckpointError : naming the first that is quantised, complex, sparse or without values, or that
        claims more values than it has.
    """
    for key, value in tensors.items():
        kind = _odd_kind(value)
        if kind is not None:
            raise CheckpointError(
                f"{path}: the tensor {shown(key)} is {kind} ({str(value.dtype)[6:]}); only ordinary "
                "tensors can be read. Save the state dict of the float model"
            )
        # One stored number can be repeated without end: a file of a kilobyte with a terabyte of weights.
        stored = value.untyped_storage().nbytes() // value.element_size()
        if value.numel() > stored:
            raise CheckpointError(
                f"{path}: the tensor {shown(key)} claims {value.numel():,} values and holds {stored:,}; "
                "save the state dict with tensor.contiguous()"
            )


def _odd_kind(value: Tensor) -> str | None:
    """What keeps a tensor from being an ordinary one, in a word."""
    if value.is_quantized:
        return "quantised"
    if value.is_complex():
        return "complex"
    if value.is_nested:
        return "nested"
    if value.layout is not torch.strided:
        return "sparse"
    return "without values (on the meta device)" if value.is_meta else None


def described(content: Any) -> str:
    """What a file holds, for the end of a message."""
    if isinstance(content, Mapping) and content:
        return f"a dict with the keys {', '.join(shown(key) for key in list(content)[:5])}"
    if isinstance(content, Mapping):
        return "an empty dict"
    return "nothing (None)" if content is None else f"a value of type {type(content).__name__}"
