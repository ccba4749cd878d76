"""State dicts: the tensors of a file, and putting them into a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.models.architecture import Architecture
from resanalysis.models.names import architecture_named
from resanalysis.models.recognise import common_key_names, recognised

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "ema_state_dict", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def model_of_state(path: Path, content: Any, arch: str | None) -> tuple[nn.Module, Architecture]:
    """The model a bare or wrapped state dict belongs to, filled with it.

    Raises
    ------
    CheckpointError : if there are no tensors, if their architecture is not known, or if they do not
        fit it.
    """
    state = common_key_names(state_dict(path, content))
    if arch is not None:
        architecture = named(arch, state)
    else:
        found = recognised(state)
        if found is None:
            keys = ", ".join(list(state)[:3])
            raise CheckpointError(
                f"{path}: the architecture is not recognised from its {len(state)} tensors ({keys}, "
                "…); name it with --arch NAME, or give a function that makes the model: "
                "python:package.module:factory"
            )
        architecture = found
    model = made(architecture, str(path))
    fill(model, state, path, architecture, named=arch is not None)
    return model, architecture


def state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a bare or wrapped state dict, without the prefixes wrappers leave.

    Raises
    ------
    CheckpointError : if there are none, or some are of a kind that is no weight.
    """
    state: Any = content
    for _ in range(3):
        inner = next(
            (
                state[key]
                for key in _WRAPPERS
                if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)
            ),
            None,
        )
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds no state dict but {described(content)}")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no state dict but {described(content)}")
    check_plain(tensors, path)
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) and key != prefix for key in tensors):
                tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
                stripped = True
    return tensors


def check_plain(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse the tensors that a network of floats cannot take.

    Raises
    ------
    CheckpointError : naming the first that is quantised, complex, sparse or without values.
    """
    for key, value in tensors.items():
        kind = (
            "quantised"
            if value.is_quantized
            else "complex"
            if value.is_complex()
            else "sparse"
            if value.layout is not torch.strided
            else "without values (on the meta device)"
            if value.is_meta
            else None
        )
        if kind is not None:
            raise CheckpointError(
                f"{path}: the tensor {key} is {kind} ({str(value.dtype)[6:]}); only ordinary tensors can "
                "be read. Save the state dict of the float model"
            )


def described(content: Any) -> str:
    """What a file holds, for the end of a message."""
    if isinstance(content, Mapping) and content:
        return f"a dict with the keys {', '.join(str(key) for key in list(content)[:5])}"
    if isinstance(content, Mapping):
        return "an empty dict"
    return "nothing (None)" if content is None else f"a value of type {type(content).__name__}"


def named(arch: str, state: Mapping[str, Tensor] | None = None) -> Architecture:
    """The architecture of ``--arch``.

    Raises
    ------
    CheckpointError : if there is none of that name.
    """
    try:
        return architecture_named(arch, state)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def made(architecture: Architecture, where: str) -> nn.Module:
    """The model without its weights.

    Raises
    ------
    CheckpointError : if it cannot be made; ``where`` begins the message.
    """
    try:
        return architecture.make()
    except ImportError as error:
        raise missing("timm", error) from None
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    except Exception as error:
        options = ", ".join(f"{key}={value!r}" for key, value in architecture.options.items())
        raise CheckpointError(
            f"{where}: {architecture.name} cannot be made with {options}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None


def missing(extra: str, error: ImportError) -> CheckpointError:
    """What to say where an optional library is not installed."""
    return CheckpointError(
        f'{extra} is not installed ({error}): pip install "resanalysis[{extra}]"'
    )


def fill(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    architecture: Architecture,
    *,
    named: bool,
) -> None:
    """Load every tensor.

    Raises
    ------
    CheckpointError : saying how many tensors do not fit, and the first of each kind.
    """
    expected = model.state_dict()
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    absent = [key for key in expected if key not in state and key not in optional]
    unexpected = [key for key in state if key not in expected]
    both = [key for key in state if key in expected]
    misshapen = [key for key in both if state[key].shape != expected[key].shape]
    whole = [
        key
        for key in both
        if expected[key].is_floating_point() and not state[key].is_floating_point()
    ]
    if not (absent or unexpected or misshapen or whole):
        model.load_state_dict({key: state.get(key, expected[key]) for key in expected})
        return
    problems: list[str] = []
    if absent:
        problems.append(
            f"{len(absent)} of {len(expected) - len(optional)} tensors are missing, first {absent[0]}"
        )
    if unexpected:
        problems.append(f"{len(unexpected)} are not its own, first {unexpected[0]}")
    if misshapen:
        first = misshapen[0]
        problems.append(
            f"{len(misshapen)} have another shape, first {first}: "
            f"{tuple(state[first].shape)} in the file, {tuple(expected[first].shape)} in the model"
        )
    if whole:
        problems.append(
            f"floats are expected and {str(state[whole[0]].dtype)[6:]} is found in {len(whole)}, first "
            f"{whole[0]}"
        )
    guess = recognised(state) if named else None
    advice = (
        f" Try --arch {guess}." if guess is not None and str(guess) != str(architecture) else ""
    )
    raise CheckpointError(
        f"cannot load {path.name} as {architecture}: {'; '.join(problems)}.{advice}"
    )


def check_finite(model: nn.Module, name: str) -> None:
    """Refuse NaN weights.

    Raises
    ------
    CheckpointError : naming the first tensor that has any.
    """
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            bad = int((~value.isfinite()).sum())
            raise CheckpointError(
                f"{name}: {bad} of {value.numel()} values of {key} are NaN or infinite"
            )
