"""A model and its test data by name → one file that says everything about itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from resanalysis.checkpoint import (
    CheckpointError,
    DataRecord,
    ModelInfo,
    Preprocessing,
    load,
    sample_of,
    save_checkpoint,
)
from resanalysis.datasets import Dataset, image_dataset
from resanalysis.datasets.pixels import Pixels
from resanalysis.errors import ResanalysisError
from resanalysis.models.architecture import Architecture
from resanalysis.network import Inputs
from resanalysis.routes.scores import scores
from resanalysis.run.model_data import CARRIED, SAMPLE_BYTES
from resanalysis.run.reading import Loaded, Reading, read
from resanalysis.run.subject import check_labels

_OTHER_KINDS = (".pt2", ".safetensors", ".npz")
_BATCH = 32


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes
    ----------
    path : the file.
    architecture, parameters : of the model.
    tested : the data it was packed with.
    examples : how many of them the file carries.
    chosen : how they were chosen; empty if they are all.
    score : ``n`` and the intact model's ``error`` and ``loss`` on them, where it classifies labelled images.
    """

    path: Path
    architecture: str
    parameters: int
    tested: DataRecord
    examples: int
    chosen: str
    score: Mapping[str, float]


def pack(
    model: str,
    source: str | None,
    out: Path,
    how: Reading,
    *,
    classes: Sequence[str] | None = None,
    with_sample: bool = True,
) -> Packed:
    """Write a model, its preprocessing, class names and a sample of its test data into one file.

    The file is read again, and takes its name only if the model in it has the same weights and gives the
    same output.

    Parameters
    ----------
    model, source : as ``load`` and ``dataset`` take them.
    how : ``limit`` is how many examples are kept; left out, as many as take no more than the weights do or
        1 MB, whichever is more, and at most 2,000.
    classes : names of the outputs in order, instead of those that the checkpoint or the data records.
    with_sample : whether examples are kept at all; without them, only where they are is recorded.

    Raises
    ------
    CheckpointError : for a model whose architecture has no name.
    DataError, ResanalysisError : if model and data do not fit; as ``read`` does.
    """
    _check_place(out)
    loaded = read(model, source, replace(how, limit=None, needs_data=True))
    info, built, data, normalised = _packable(loaded)
    names = _class_names(loaded, classes, info.classes, data.classes)
    weights = sum(tensor.nbytes for tensor in loaded.module.state_dict().values())
    sample = sample_of(data, max(SAMPLE_BYTES, weights), limit=how.limit, seed=how.image_seed)
    kept = image_dataset(
        sample.images, sample.labels, mean=normalised.mean, std=normalised.std, name=model
    )
    score = intact_score(loaded.module, kept, loaded.device)
    tested = _tested(info, loaded, data)
    partial = out.with_name(f".{out.stem}.unchecked.pt")
    try:
        save_checkpoint(
            partial,
            loaded.module,
            architecture=built,
            preprocessing=replace(normalised, input_size=sample.images.shape[1:]),
            classes=names,
            tested=tested,
            sample=sample if with_sample else None,
            packed={"model": model, "model_sha256": loaded.model_sha256, "score": score},
        )
        # Read as a stranger would, by its name and nothing else; only then does it get its name.
        _check_same(loaded.module, load(partial), kept, out)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return Packed(
        path=out,
        architecture=str(built),
        parameters=sum(p.numel() for p in loaded.module.parameters()),
        tested=tested,
        examples=len(kept) if with_sample else 0,
        chosen=sample.chosen,
        score=score,
    )


def _packable(loaded: Loaded) -> tuple[ModelInfo, Architecture, Dataset, Preprocessing]:
    """What is packed: a model whose architecture has a name, and images that fit it."""
    info = cast("ModelInfo | None", getattr(loaded.module, "resanalysis", None))
    if info is None or info.built is None:
        raise CheckpointError(_unnamed(loaded.model, loaded.module))
    data = loaded.data
    if data is None or data.mean is None or data.std is None:
        raise ResanalysisError(
            f"{loaded.source} is no images, which is what a packed model carries"
        )
    if data.objects is not None or (data.of_pixels and data.labels is None):
        raise ResanalysisError(
            f"{loaded.source} has objects or masks, which a packed model does not carry: name images with one "
            "class each, or without"
        )
    if data.accepted is not None:
        raise ResanalysisError(
            f"{loaded.source} has several right classes an image, and a packed model carries one; leave "
            "--labels out, or give it a file with one class an image"
        )
    if data.labels is not None:
        check_labels(loaded.module, data, loaded.example, loaded.model)
    return info, info.built, data, Preprocessing(data.mean, data.std, pixels=_pixels(info, data))


def _pixels(info: ModelInfo, data: Dataset) -> Pixels | None:
    """As these files were read; of images that are as they are, what the model says of files."""
    known = None if info.preprocessing is None else info.preprocessing.pixels
    return data.pixels or known


def intact_score(module: nn.Module, data: Dataset, device: str) -> dict[str, float]:
    """``n``, error and loss of the model as it is; empty without labels, or for an output of another kind."""
    if data.labels is None:
        return {}
    rows: list[Tensor] = []
    module.to(device)
    try:
        with torch.inference_mode():
            for start in range(0, len(data), _BATCH):
                images, labels = data.batch(start, min(start + _BATCH, len(data)))
                output = module(cast(Tensor, images).to(device))
                if not isinstance(output, Tensor) or output.ndim not in (2, 4) or labels is None:
                    return {}
                rows.append(scores(output, labels.to(device), output)[:2].cpu())
    finally:
        module.to("cpu")
    error, loss = torch.cat(rows, 1).double().mean(1).tolist()
    return {"n": len(data), "error": error, "loss": loss}


def _tested(info: ModelInfo, loaded: Loaded, data: Dataset) -> DataRecord:
    """Where the examples come from: of a sample that is packed again, what it was a sample of."""
    if loaded.data_from == CARRIED and info.tested is not None:
        return info.tested
    return DataRecord(loaded.source or "", "test", data.sha256, len(data))


def _check_place(out: Path) -> None:
    if out.is_dir():
        raise ResanalysisError(
            f"--out {out} is a folder; name a file in it, such as {out}/model.pt"
        )
    if out.suffix in _OTHER_KINDS:
        raise ResanalysisError(
            f"--out {out}: a {out.suffix} file is of another kind; call it {out.stem}.pt"
        )


def _unnamed(model: str, module: nn.Module) -> str:
    return (
        f"{model} cannot be packed: the architecture of {type(module).__name__} has no name, so what it "
        "computes is code, which a packed file never holds. Packed are state dicts of known architectures "
        "(--arch), torchvision:NAME and timm:NAME; send this one with its data as they are"
    )


def _class_names(
    loaded: Loaded, given: Sequence[str] | None, *known: Sequence[str] | None
) -> Sequence[str] | None:
    """The given names, else the first known ones that are as many as the model's outputs."""
    with torch.inference_mode():
        output = loaded.module(loaded.example)
    if not isinstance(output, Tensor) or output.ndim < 2:
        return given
    if given is not None and len(given) != output.shape[1]:
        raise ResanalysisError(
            f"--classes names {len(given)} classes, and {loaded.model} has {output.shape[1]} outputs"
        )
    fitting = [names for names in known if names is not None and len(names) == output.shape[1]]
    return given or next(iter(fitting), None)


def _check_same(module: nn.Module, packed: nn.Module, data: Dataset, out: Path) -> None:
    """What was written is what was read: every weight, and the output, which also depends on code."""
    images: Inputs = data.batch(0, min(len(data), _BATCH))[0]
    with torch.inference_mode():
        outputs = [pytree.tree_leaves(model(images)) for model in (module, packed)]
    pairs = [
        *zip(module.state_dict().values(), packed.state_dict().values(), strict=True),
        *zip(*outputs, strict=True),
    ]
    same = module.state_dict().keys() == packed.state_dict().keys()
    if not same or not all(torch.equal(one, other) for one, other in pairs):
        raise CheckpointError(
            f"{out} was not written: its architecture by name gives another output than the model, which "
            "has settings that its weights do not show"
        )
