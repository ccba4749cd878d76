"""The data a model is measured on: what the user names, or what the model records and carries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from warnings import warn

from torch import Tensor

from resanalysis.checkpoint import DataRecord, ModelInfo, Preprocessing, Sample, taken_by
from resanalysis.datasets import (
    DataError,
    Dataset,
    Pixels,
    check_of_files,
    check_vocabulary,
    dataset,
    image_dataset,
)
from resanalysis.datasets.normalisation import chosen_normalisation
from resanalysis.errors import LeftOutError, printable
from resanalysis.run.reading import Reading

if TYPE_CHECKING:
    from torch import nn

CARRIED, RECORDED, SHIPPED = (
    "carried by the checkpoint",
    "recorded by the checkpoint",
    "shipped with the model",
)
SAMPLE_BYTES = 1_000_000
# A checkpoint nobody vouches for names these: single files of known layouts, no folder to search.
_FOUND_AGAIN = ("cifar10", "cifar100", "fashion-mnist", "mnist")
_Numbers = tuple[float, ...] | None


def data_for(
    info: ModelInfo | None,
    source: str,
    how: Reading | None = None,
    *,
    split: Literal["train", "test"] = "test",
) -> Dataset:
    """Data for a model: normalised as its checkpoint records, unless the user says otherwise; plain text
    as the model's own tokenizer cuts it.

    Parameters
    ----------
    split : which part, of data sets that have a training and a test part.
    """
    how = how or Reading()
    info = info or ModelInfo(source)  # of which nothing is known
    mean, std = _mean_and_std(info.preprocessing, how)
    known = _recorded_pixels(info.preprocessing)
    of_text = source.startswith("text:")
    data = dataset(
        source,
        normalize=how.normalize,
        mean=mean,
        std=std,
        limit=how.limit,
        seed=how.image_seed,
        split=split,
        image_size=how.image_size,
        crop=how.crop,
        interpolation=how.interpolation,
        pixels=known,
        labels=how.labels,
        tokenizer=info.tokenizer if of_text else None,
        positions=info.positions if of_text else None,
        predicted=info.predicts,
    )
    if known is not None:
        _tell_of_size(data, known, info.name)
    elif None in (how.image_size, how.crop, how.interpolation):
        _tell_of_pixels(data, info.name)
    if info.vocabulary is not None:
        check_vocabulary(data, info.vocabulary, info.name)
    return data


def _mean_and_std(recorded: Preprocessing | None, how: Reading) -> tuple[_Numbers, _Numbers]:
    """What the user says, else what the model records; never the mean of one with the std of the other."""
    if recorded is None or how.normalize or how.mean or how.std:
        return how.mean, how.std
    return recorded.mean, recorded.std


def _recorded_pixels(recorded: Preprocessing | None) -> Pixels | None:
    """What the model says of files of images; of a size alone, that it takes whole images in it."""
    if recorded is None or recorded.pixels is not None:
        return None if recorded is None else recorded.pixels
    if recorded.input_size is None or len(recorded.input_size) != 3:
        return None
    high, wide = recorded.input_size[1:]
    resize = high if high == wide else (high, wide)
    return Pixels((high, wide), resize, said_by="the size that the model records")


def _tell_of_pixels(data: Dataset, model: str) -> None:
    """Files of images were read in the usual way, for want of a better one."""
    if (
        data.pixels is None or data.of_pixels
    ):  # masks are resized with their images, as the user says
        return
    text = (
        f"nothing says which images {model} was made for: {data.pixels}. If it was made for others, say "
        "--image-size, --crop and --interpolation: errors may be off by a point"
    )
    warn(printable(text), stacklevel=2)


def _tell_of_size(data: Dataset, known: Pixels, model: str) -> None:
    """Arrays are taken as they are, in whatever size: a network that pools at its end takes any."""
    if (
        data.pixels is not None or data.mean is None
    ):  # read in the size that the model records; no images
        return
    inputs = data.batch(0, 1)[0]
    size = tuple(inputs.shape[2:]) if isinstance(inputs, Tensor) else known.size
    if size != known.size:
        found, recorded = (f"{high}×{wide}" for high, wide in (size, known.size))
        text = f"the images of {data.name} are {found}, and {model} records {recorded}: is it the right data?"
        warn(printable(text), stacklevel=2)


def own_data(
    name: str, model: nn.Module, info: ModelInfo | None, how: Reading
) -> tuple[Dataset, str, str]:
    """Data for a model where the user names none.

    The sample that a checkpoint carries comes first: it is the same on every machine, and no other file is
    opened because this one says so. Then the test data it records, if the same is still there.

    Parameters
    ----------
    name : of the model, as the user gave it.

    Returns
    -------
    Dataset, str, str : the data, its name, and which record of the model named it.

    Raises
    ------
    LeftOutError : if there is none: says what the model takes and what would do.
    """
    tested = None if info is None else info.tested
    if info is not None and info.sample is not None:
        source = f"the sample of {tested.source}" if tested is not None else f"the sample in {name}"
        return _of_sample(info, info.sample, source, how), source, CARRIED
    if tested is not None:
        data = _found_again(info, tested, how)
        if data is not None:
            return data, tested.source, RECORDED if tested.sha256 else SHIPPED
    raise LeftOutError(_nothing(name, model, info, tested))


def _of_sample(info: ModelInfo, sample: Sample, source: str, how: Reading) -> Dataset:
    check_of_files(
        source,
        image_size=how.image_size,
        crop=how.crop,
        interpolation=how.interpolation,
        labels=how.labels,
    )
    recorded = info.preprocessing
    mean, std = chosen_normalisation(
        source,
        how.normalize,
        how.mean,
        how.std,
        None if recorded is None else (recorded.mean, recorded.std),
    )
    data = image_dataset(
        sample.images, sample.labels, mean=mean, std=std, classes=info.classes, name=source
    )
    data = replace(data, subset=sample.chosen)
    return data if how.limit is None else data.limited(how.limit, how.image_seed)


def _found_again(info: ModelInfo | None, tested: DataRecord, how: Reading) -> Dataset | None:
    """The recorded test data, if what is there now has the recorded digest."""
    if not tested.sha256:  # of this package, beside the model
        return data_for(info, tested.source, how)
    scheme, colon, place = tested.source.partition(":")
    known = scheme in _FOUND_AGAIN if colon else tested.source.endswith(".npz")
    # The file says which path to open. Nothing but known layouts is opened for it, and nothing on another
    # machine, where Windows would log in by itself.
    if not known or (place or scheme).startswith(("//", "\\\\")):  # a path of another machine
        return None
    try:
        same = data_for(info, tested.source).sha256 == tested.sha256
    except (DataError, OSError):
        return None
    return data_for(info, tested.source, how) if same else None


def _nothing(name: str, model: nn.Module, info: ModelInfo | None, tested: DataRecord | None) -> str:
    """What to say where no data is known: what the model takes, and command lines that would do."""
    text = f"nothing to measure {name} on: it takes {taken_by(model, info)}"
    if tested is not None:
        text += (
            f". It was tested on {tested.source} ({tested.n:,} examples), which is not here or not "
            "as it was then"
        )
    if info is not None and info.vocabulary is not None:
        return f"{text}. Say --data text:FILE or --data tokens:FILE.npz"
    words = "--data test.npz"
    if info is None or info.preprocessing is None:
        words += " --normalize NAME"
    text += f". Say {words}"
    if info is None or info.built is None:
        return text
    return f"{text}, or once for all: resanalysis pack {name} {words} --out model.pt"
