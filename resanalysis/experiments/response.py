"""How strongly each layer responds: He et al. 2015, Figure 7."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor, nn

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.measures.moments import layer_kind, layer_moments
from resanalysis.network import Arithmetic, ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.arithmetic import check_not_bf16
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    examples_at_once,
)
from resanalysis.statistics.bootstrap import bootstrap

Floats = NDArray[np.float64]


def response(
    models: nn.Module | Mapping[str, nn.Module],
    data: Dataset | Mapping[str, Dataset],
    *,
    kinds: str | Sequence[str] = "3x3",
    submodule: str | None = None,
    level: float = 0.95,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    arithmetic: Arithmetic = "float32",
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Standard deviation of the response of each layer, pooled over images, channels and positions.

    The response is the layer's output after the batch norm that reads it and before the nonlinearity or
    the addition; where no batch norm reads it, the output itself. Eval mode: batch norm with its running
    statistics.

    Parameters
    ----------
    models : a model, or several by name; any module that the data can be given to.
    data : one data set, or one for each model by the same names (where they normalise differently).
    kinds : ``"3x3"``, ``"1x1"``, ``"linear"``…, several of them, or ``"all"`` layers with weights.
    submodule : measure the layers of this part only; the whole model runs.
    batch_size : images at a time; what the memory, and on a CPU the cache, takes if left out.
    arithmetic : ``float32``, or ``tf32`` on a GPU.

    Returns
    -------
    DataFrame : a row per layer in the order in which layers run, ``layer`` from 1; ``std`` with its
        bootstrap interval over images; ``rank`` 1 for the largest of a model; ``stage``, runs of equal
        spatial size (of the first image, where sizes differ); ``mean``; ``batch_norm``, whether it was taken
        after one; ``calls`` a pass; ``n`` images. A layer that never runs has ``layer`` and ``rank`` −1 and no
        numbers.

    Raises
    ------
    ResanalysisError : if a model has no layer of these kinds, a response is not finite, or the arithmetic is
        ``bf16``.

    Warns
    -----
    UserWarning : naming layers that never ran, or whose response has no axis over images.

    Source: He et al. 2015, §4.2 and Figure 7; the paper does not state what is pooled.
    """
    check_not_bf16(arithmetic, "responses are measured")
    named = models if isinstance(models, Mapping) else {type(models).__name__: models}
    if not named:
        raise ResanalysisError("no model to measure")
    frames: list[pd.DataFrame] = []
    never_ran: dict[str, list[str]] = {}
    own = data if isinstance(data, Mapping) else dict.fromkeys(named, data)
    for name, model in named.items():
        examples = own[name]
        layers = _chosen(name, model, kinds, submodule)
        place = torch.device(device or _device_of(model))
        size = batch_size or _images_at_once(examples, place)
        batches = Batches(
            examples, size, place, arithmetic=arithmetic, store=store, show_progress=show_progress
        )
        seen = _measured(name, model, layers, batches)
        frames.append(_table(name, layers, seen, len(examples), level, seed))
        quiet = [layer for layer in layers if layer not in seen.names]
        _warn(name, quiet, seen.shared)
        if quiet:
            never_ran[name] = quiet
    frame = pd.concat(frames, ignore_index=True)
    first = next(iter(own.values()))
    frame.attrs = Provenance(
        ", ".join(named), first.name, len(first), seed, first.subset, arithmetic,
        protocol={
            "models": list(named),
            "kinds": kinds if isinstance(kinds, str) else list(kinds),
            "level": level,
            "never_ran": never_ran,
        },
    ).facts()  # fmt: skip
    return frame


@dataclass(frozen=True, eq=False)
class _Seen:
    """Moments (layers, N) of the layers that ran, in their order, and of each its shape, calls and norm."""

    names: list[str]
    shapes: list[tuple[int, ...]]
    calls: list[int]
    batch_norm: list[bool]
    n: Floats
    mean: Floats
    m2: Floats
    shared: list[str]


def usual_kind(model: nn.Module, submodule: str | None = None) -> str:
    """``3x3`` if the model, or a part of it, has such layers, else the kind it has most layers of."""
    modules = model.get_submodule(submodule or "").modules()
    there = Counter(kind for module in modules if (kind := layer_kind(module)) is not None)
    return "3x3" if "3x3" in there or not there else there.most_common(1)[0][0]


def _chosen(
    name: str,
    model: nn.Module | ResidualNetwork,
    kinds: str | Sequence[str],
    submodule: str | None,
) -> dict[str, nn.Module]:
    """The layers of the kinds asked for, by module path."""
    if isinstance(model, ResidualNetwork):
        raise ResanalysisError(
            "responses are measured in the model itself: give it as ra.load returns it, not its unraveled view"
        )
    wanted = {kinds} if isinstance(kinds, str) else set(kinds)
    part = submodule or ""
    inner = dict(model.get_submodule(part).named_modules(prefix=part))
    kind_of = {path: kind for path, module in inner.items() if (kind := layer_kind(module))}
    there = Counter(kind_of.values())
    missing = sorted(wanted - set(there) - {"all"})
    if missing or not there:
        raise ResanalysisError(_no_such_layers(name, missing, there))
    return {
        path: inner[path] for path, kind in kind_of.items() if wanted.intersection((kind, "all"))
    }


def _no_such_layers(name: str, missing: Sequence[str], there: Mapping[str, int]) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(there.items()))
    advice = ". Choose among these with kinds (--kinds), or all" if there else ""
    return (
        f"{name} has no {' or '.join(missing) or 'convolutional or linear'} layers; it has "
        f"{found or 'none with weights'}{advice}"
    )


def _measured(
    name: str, model: nn.Module, layers: Mapping[str, nn.Module], batches: Batches
) -> _Seen:
    if batches.device != _device_of(model):
        # A copy: `to` would move the user's own model.
        model = copy.deepcopy(model).to(batches.device)
        layers = {path: model.get_submodule(path) for path in layers}
    blocks = batches.each(
        f"response-{name}",
        lambda batch: _block(name, model, layers, batch),
        description=f"response of {name}",
    )
    return _seen(blocks)


def _block(name: str, model: nn.Module, layers: Mapping[str, nn.Module], batch: Batch) -> Block:
    found = layer_moments(model, layers, batch.inputs, batch.rows)
    for layer, moments in found.items():
        if moments.per_image and not bool(torch.isfinite(moments.m2).all()):
            raise ResanalysisError(
                f"the response of {layer} of {name} is not finite on images {batch.start} to "
                f"{batch.stop - 1}: check the weights, and how the input is normalised"
            )

    def stacked(field: str) -> Floats:
        empty = np.empty((0, batch.rows))
        return np.stack([getattr(m, field).numpy() for m in found.values()]) if found else empty

    return {
        "names": np.array(list(found), dtype=str),
        "shapes": np.array(["x".join(map(str, m.shape)) for m in found.values()], dtype=str),
        "calls": np.array([m.calls for m in found.values()], dtype=np.int64),
        "batch_norm": np.array([m.batch_norm for m in found.values()], dtype=bool),
        **{field: stacked(field) for field in ("n", "mean", "m2")},
    }


class _Layer(NamedTuple):
    """What the batches say of a layer that ran: its response's shape, calls a pass, and batch norm."""

    shape: str
    calls: int
    batch_norm: bool


def _layers_of(block: Block) -> dict[str, _Layer]:
    facts = zip(block["shapes"], block["calls"], block["batch_norm"], strict=True)
    layers = [_Layer(str(shape), int(calls), bool(norm)) for shape, calls, norm in facts]
    return dict(zip(map(str, block["names"]), layers, strict=True))


def _merged(blocks: Sequence[Block]) -> dict[str, _Layer]:
    """The layers in the order in which they first ran; some run on some images only."""
    order: dict[str, _Layer] = {}
    for block in blocks:
        for name, layer in _layers_of(block).items():
            known = order.get(name, layer)
            calls, norm = max(known.calls, layer.calls), known.batch_norm and layer.batch_norm
            order[name] = _Layer(known.shape, calls, norm)
    return order


def _side_by_side(blocks: Sequence[Block], field: str, rows: Mapping[str, int]) -> Floats:
    """Values (layers, images) of all blocks; 0 where a layer did not run."""
    columns: list[Floats] = []
    for block in blocks:
        values = np.zeros((len(rows), block[field].shape[1]))
        values[[rows[str(name)] for name in block["names"]]] = block[field]
        columns.append(values)
    return np.concatenate(columns, axis=1)


def _seen(blocks: Sequence[Block]) -> _Seen:
    layers = _merged(blocks)
    rows = {name: row for row, name in enumerate(layers)}
    n, mean, m2 = (_side_by_side(blocks, field, rows) for field in ("n", "mean", "m2"))
    return _Seen(
        names=list(layers),
        shapes=[tuple(int(s) for s in layer.shape.split("x") if s) for layer in layers.values()],
        calls=[layer.calls for layer in layers.values()],
        batch_norm=[layer.batch_norm for layer in layers.values()],
        shared=[name for name, row in rows.items() if np.isnan(n[row]).any()],
        n=n,
        mean=mean,
        m2=m2,
    )


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _images_at_once(data: Dataset, device: torch.device) -> int:
    """A model that was not unraveled has no stream to go by; a first layer makes some five times its input."""
    if not data.one_size:
        return 1
    leaves = pytree.tree_leaves(data.batch(0, 1)[0])
    sizes = [leaf.numel() * leaf.itemsize for leaf in leaves if isinstance(leaf, Tensor)]
    return examples_at_once(device, len(data), 5 * max(sizes, default=1))


def _table(
    model: str,
    layers: Mapping[str, nn.Module],
    seen: _Seen,
    images: int,
    level: float,
    seed: int,
) -> pd.DataFrame:
    std, low, high = std_interval(seen.n, seen.mean, seen.m2, level=level, seed=seed)
    rank = np.full(len(std), -1)
    known = np.flatnonzero(np.isfinite(std))
    # Stable: layers that respond alike keep their order.
    rank[known[np.argsort(-std[known], kind="stable")]] = np.arange(1, len(known) + 1)
    stages = _stages(seen.shapes)
    with np.errstate(invalid="ignore"):
        mean = (seen.n * seen.mean).sum(1) / seen.n.sum(1)
    rows = [
        {
            "model": model,
            "layer": row + 1,
            "name": layer,
            "kind": layer_kind(layers[layer]),
            "std": std[row],
            "std_low": low[row],
            "std_high": high[row],
            "rank": rank[row],
            "stage": stages[row],
            "mean": mean[row],
            "batch_norm": seen.batch_norm[row],
            "calls": seen.calls[row],
            "n": images,
        }
        for row, layer in enumerate(seen.names)
    ]
    absent: dict[str, Any] = {"model": model, "layer": -1, "rank": -1, "stage": -1, "calls": 0}
    absent |= {"std": np.nan, "std_low": np.nan, "std_high": np.nan, "mean": np.nan}
    rows += [
        {**absent, "name": layer, "kind": layer_kind(module), "batch_norm": False, "n": images}
        for layer, module in layers.items()
        if layer not in seen.names
    ]
    return pd.DataFrame(rows)


def _stages(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Runs of layers whose responses (C, H, W) or (T, C) have one spatial size."""
    sizes = [shape[1:] if len(shape) > 2 else shape[:-1] for shape in shapes]
    changed = [before != size for before, size in pairwise(sizes)]
    return [0, *np.cumsum(changed, dtype=int).tolist()] if sizes else []


def std_interval(
    n: Floats, mean: Floats, m2: Floats, *, level: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Pooled standard deviation of each layer with its percentile bootstrap interval over images.

    Parameters
    ----------
    n, mean, m2 : (layers, N), of each image's values: how many, mean, squared deviations from it.

    Returns
    -------
    std, low, high : (layers,). The variance divides by the number of values; the same resamples serve
        every layer, so that layers can be compared.

    Source: Efron 1979; the pooling is that of Chan, Golub and LeVeque 1983.
    """
    images = n.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        # Around the grand mean nothing large cancels.
        centred = mean - (n * mean).sum(1, keepdims=True) / n.sum(1, keepdims=True)
        first, second = n * centred, m2 + n * centred**2

        def pooled(weights: Floats) -> Floats:
            total = weights @ n.T
            variance = weights @ second.T / total - (weights @ first.T / total) ** 2
            return np.sqrt(np.maximum(variance, 0))

        found = bootstrap(pooled, images, level=level, seed=seed)
    return found.mean, found.low, found.high


def _warn(model: str, quiet: Sequence[str], shared: Sequence[str]) -> None:
    for layers, what in (
        (quiet, "never ran on this data and have no response"),
        (shared, "respond with no axis over images and are not measured"),
    ):
        if layers:
            listed = ", ".join(layers[:3]) + (", …" if len(layers) > 3 else "")
            warnings.warn(
                f"{len(layers)} layers of {model} {what}: {listed}", UserWarning, stacklevel=3
            )
