"""An architecture and the tensors for it → a model, its shapes compared before memory is taken."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.reading import too_large
from resanalysis.checkpoint.remap import in_order, tell_of_order
from resanalysis.errors import out_of_memory, quoted, shown
from resanalysis.models.architecture import Architecture
from resanalysis.models.names import architecture_named
from resanalysis.models.recognise import recognised
from resanalysis.network import WeightFiles

MOST_LAYERS = 3000
"""More than twice the deepest residual network published, 1,202 layers; each costs time to make."""


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


def filled(
    architecture: Architecture,
    state: Mapping[str, Tensor],
    path: Path,
    *,
    named: bool,
    remap: bool = False,
) -> nn.Module:
    """The model with every tensor of a state in its place.

    The model is made without memory first, which costs nothing however large a width or a number of
    classes the file implies, and only if all shapes agree with the file's is it made again with memory.

    Parameters
    ----------
    named : whether the user named the architecture, so that the error may propose another.
    remap : take the tensors in their order where their names do not fit.

    Raises
    ------
    CheckpointError : saying how many tensors do not fit, and the first of each kind.
    """
    _check_depth(architecture, path)
    outline = _outline(architecture)
    model = made(architecture, str(path)) if outline is None else outline
    expected = model.state_dict()
    problems = _problems(state, expected)
    if problems and remap:
        state = _taken_in_order(state, expected, path, architecture)
    elif problems:
        advice = _advice(state, expected, path, architecture, named)
        raise CheckpointError(
            f"cannot load {path.name} as {architecture}: {'; '.join(problems)}.{advice}"
        )
    if outline is not None:
        try:
            model = made(architecture, str(path))
        except Exception as error:
            raise (too_large(path) if out_of_memory(error) else error) from None
    expected = model.state_dict()
    # What may still be missing are counters of batches, which stay as they are made.
    model.load_state_dict({key: state.get(key, expected[key]) for key in expected})
    return model


def _check_depth(architecture: Architecture, path: Path) -> None:
    depth = architecture.options.get("depth")
    if isinstance(depth, int) and depth > MOST_LAYERS:
        raise CheckpointError(
            f"{path}: a network of {shown(depth)} layers is more than the {MOST_LAYERS:,} that are read"
        )


def _outline(architecture: Architecture) -> nn.Module | None:
    """The model without values, or ``None`` of one that looks at values while it is made.

    Those are some of torchvision's and timm's by name, whose sizes follow from the name and not from
    the file; an error of any other kind comes again, with its message, when ``made`` is called.
    """
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # they come when the model is made
            return _without_downloads(architecture).make()
    except Exception:
        return None


def made(architecture: Architecture, where: str) -> nn.Module:
    """The model without its weights.

    Raises
    ------
    CheckpointError : if it cannot be made; ``where`` begins the message.
    """
    try:
        return _without_downloads(architecture).make()
    except ImportError as error:
        raise missing("timm", error) from None
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    except Exception as error:
        if out_of_memory(error):
            raise
        options = ", ".join(
            f"{shown(key)}={quoted(value)}" for key, value in architecture.options.items()
        )
        raise CheckpointError(
            f"{where}: {architecture.name} cannot be made with {options}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None


def _without_downloads(architecture: Architecture) -> Architecture:
    """torchvision's segmentation and detection models fetch a trained backbone unless told not to."""
    library, _, name = architecture.name.rpartition(":")
    if architecture.own or library == "timm":
        return architecture
    import torchvision

    if name not in torchvision.models.list_models():
        return architecture
    builder = inspect.signature(torchvision.models.get_model_builder(name))
    if "weights_backbone" not in builder.parameters:
        return architecture
    return replace(architecture, options={**architecture.options, "weights_backbone": None})


def missing(extra: str, error: ImportError) -> CheckpointError:
    """What to say where an optional library is not installed."""
    return CheckpointError(
        f'{extra} is not installed ({error}): pip install "resanalysis[{extra}]"'
    )


def _problems(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state from being loaded, a phrase for each kind."""
    both = [key for key in state if key in expected]
    return [
        *_missing_tensors(state, expected),
        *_foreign_tensors(state, expected),
        *_other_shapes([key for key in both if state[key].shape != expected[key].shape], state, expected),
        *_whole_numbers([key for key in both if _truncates(state[key], expected[key])], state),
    ]  # fmt: skip


def _missing_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    # The counter of batches decides nothing in a trained network, and old files have none.
    needed = [key for key in expected if not key.endswith("num_batches_tracked")]
    absent = [key for key in needed if key not in state]
    if not absent:
        return []
    return [f"{len(absent)} of {len(needed)} tensors are missing, first {absent[0]}"]


def _foreign_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    foreign = [key for key in state if key not in expected]
    return [f"{len(foreign)} are not its own, first {shown(foreign[0])}"] if foreign else []


def _other_shapes(
    keys: list[str], state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> list[str]:
    if not keys:
        return []
    found, wanted = tuple(state[keys[0]].shape), tuple(expected[keys[0]].shape)
    return [
        f"{len(keys)} have another shape, first {keys[0]}: {found} in the file, {wanted} in the model"
    ]


def _whole_numbers(keys: list[str], state: Mapping[str, Tensor]) -> list[str]:
    if not keys:
        return []
    kind = str(state[keys[0]].dtype)[6:]
    return [f"floats are expected and {kind} is found in {len(keys)}, first {keys[0]}"]


def _truncates(found: Tensor, wanted: Tensor) -> bool:
    return wanted.is_floating_point() and not found.is_floating_point()


def _advice(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
    architecture: Architecture,
    named: bool,
) -> str:
    """What to try instead: the architecture the state looks like, or its tensors by their order."""
    guess = recognised(state) if named else None
    if guess is not None and str(guess) != str(architecture):
        return f" Try --arch {guess}."
    if not isinstance(in_order(state, expected, path), str):
        return (
            f" Its {len(state)} tensors have the model's shapes, in the same order, under other names: "
            "--remap takes them in that order."
        )
    return ""


def _taken_in_order(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
    architecture: Architecture,
) -> Mapping[str, Tensor]:
    taken = in_order(state, expected, path)
    if isinstance(taken, str):
        raise CheckpointError(
            f"--remap cannot take the tensors of {path.name} in their order as {architecture}: {taken}"
        )
    tell_of_order(path, taken, expected)
    return {name: state[key] for name, key in taken.items()}


def check_finite(model: nn.Module, name: str, files: WeightFiles | None = None) -> None:
    """Refuse NaN weights; each tensor is let go of where it is in ``files``.

    Raises
    ------
    CheckpointError : naming the first tensor that has any.
    """
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not _all_finite(value):
            bad = int((~value.isfinite()).sum())
            raise CheckpointError(
                f"{name}: {bad} of {value.numel()} values of {shown(key)} are NaN or infinite"
            )
        if files is not None:
            files.release()


def _all_finite(value: Tensor) -> bool:
    # In pieces: what tells is as large as what is asked, and an embedding is the largest of all.
    return all(bool(piece.isfinite().all()) for piece in value.reshape(-1).split(2**24))
