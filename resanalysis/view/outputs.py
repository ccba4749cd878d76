"""Which of the things a model returns is analysed: the one rule, for graphs and for what was computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from resanalysis.view.errors import UnravelError


def logits_of(output: Any, name: str | None = None) -> Tensor | None:
    """What is scored in what a model returned, or ``None`` where no rule says which tensor it is.

    Parameters
    ----------
    name : the output asked for; without one the rule of ``chosen_output`` decides.

    Raises
    ------
    UnravelError : if there is no output of that name.
    """
    found = float_outputs(output, _itself)
    wanted = _by_rule(found) if name is None else name
    if wanted is None:
        return None
    value = _named(found, wanted, _itself)
    return value if name is not None or value.ndim > 1 else None


def chosen_output(returned: Any, value_of: Callable[[Any], Any], name: str | None) -> Any:
    """The leaf of ``returned`` that is analysed.

    The one asked for; else the only float tensor; else the one called ``logits``, then ``out``; else the
    only one whose name ends in ``_logits``. A name counts as a whole: ``pooler_output`` is no ``out``.

    Parameters
    ----------
    returned : what the model returns, nested as it returns it.
    value_of : a leaf's tensor (of a graph node, its example value), or anything else if it has none.
    name : ``logits``, ``hidden_states.3``, or the position in a tuple.

    Raises
    ------
    UnravelError : with the choices, if there is no output of that name, or no name and no rule that fits.
    """
    found = float_outputs(returned, value_of)
    if not found:
        raise UnravelError("the model returns no float tensor")
    wanted = _by_rule(found) if name is None else name
    if wanted is None:
        raise UnravelError(
            f"the model returns several tensors, and none is called logits: {_listed(found, value_of)}. "
            "Say which one to analyse with output=NAME"
        )
    return _named(found, wanted, value_of)


def require_rows_of_numbers(value: Tensor, model: str) -> None:
    """Refuse an output that is one number an example, or one for all of them."""
    if value.ndim > 1:
        return
    what = "one number for the whole batch" if value.ndim == 0 else "one number for each example"
    raise UnravelError(
        f"the output of {model} has the shape {_shape(value)}, {what}; the scores read a row an "
        "example, (N, classes): analyse another output with output=NAME, or let the model return (N, 1)"
    )


def float_outputs(returned: Any, value_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Every leaf with a float tensor by its name, in the order in which the model returns them."""
    named = list(_leaves(returned, ()))
    return {path: leaf for path, leaf in named if _is_float(value_of(leaf))}


def _leaves(returned: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    children = _children(returned)
    if children is None:
        yield ".".join(path), returned
        return
    for name, value in children:
        yield from _leaves(value, (*path, str(name)))


def _children(returned: Any) -> Iterable[tuple[Any, Any]] | None:
    if isinstance(returned, Mapping):
        return returned.items()
    if isinstance(returned, tuple) and hasattr(returned, "_fields"):
        return zip(returned._fields, returned, strict=True)  # pyright: ignore
    if isinstance(returned, list | tuple):
        return enumerate(returned)
    if is_dataclass(returned):
        return [(field.name, getattr(returned, field.name)) for field in fields(returned)]
    return None


def _by_rule(found: Mapping[str, Any]) -> str | None:
    """The name that needs no asking: the first rule that exactly one output fits."""
    rules: tuple[Callable[[str], bool], ...] = (
        lambda _: True,
        lambda name: name == "logits",
        lambda name: name == "out",  # torchvision's segmentation models
        lambda name: name.endswith("_logits"),
    )
    for fits in rules:
        names = [name for name in found if fits(name.rpartition(".")[2])]
        if len(names) == 1:
            return names[0]
    return None


def _named(found: Mapping[str, Any], name: str, value_of: Callable[[Any], Any]) -> Any:
    if name not in found:
        raise UnravelError(
            f"the model returns no float tensor called {name!r}; it returns {_listed(found, value_of)}"
        )
    return found[name]


def _listed(found: Mapping[str, Any], value_of: Callable[[Any], Any]) -> str:
    shapes = [f"{name or 'one'} {_shape(value_of(leaf))}" for name, leaf in found.items()]
    more = f" and {len(shapes) - 8} more" if len(shapes) > 8 else ""
    return ", ".join(shapes[:8]) + more if shapes else "none"


def _shape(value: Tensor) -> str:
    """The shape as text; N for a size that changes with the batch."""
    lengths = [str(length) if isinstance(length, int) else "N" for length in value.shape]
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


def _itself(leaf: Any) -> Any:
    return leaf


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
