"""An architecture and data by name → a trained checkpoint, recorded in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.checkpoint import (
    CheckpointError,
    DataRecord,
    Preprocessing,
    sample_of,
    save_checkpoint,
)
from resanalysis.datasets import DataError, Dataset, dataset
from resanalysis.errors import ResanalysisError
from resanalysis.figures.tables.gradient_norms import gradient_norms as draw_gradient_norms
from resanalysis.figures.tables.history import history as draw_history
from resanalysis.ranks import ranks
from resanalysis.run.first_weights import Beginning, leaving_out, random_network, trained_network
from resanalysis.run.folder import Run
from resanalysis.run.model_data import SAMPLE_BYTES
from resanalysis.run.reading import device_named
from resanalysis.training.examples import Examples
from resanalysis.training.loop import train
from resanalysis.training.recipe import Recipe
from resanalysis.training.state import TrainingState

SPLIT = ("fashion-mnist", "mnist", "cifar10", "cifar100")


@dataclass(frozen=True)
class Plan:
    """What to train, and on what.

    Attributes
    ----------
    arch : a name of ``architecture_named``: ``resnet56``, ``resnet110v2``, ``plain56``, ``cifar_vgg16``…
    data, test_data : as ``dataset`` takes them; ``test_data`` is needed where ``data`` has no test part.
    recipe, seed : with the data, they decide the weights.
    options : of the architecture, such as ``width``, beside those its name says.
    start_from : a checkpoint of ``train`` whose weights it begins with; it says which network, and ``arch`` and
        ``options`` are not looked at.
    stochastic_depth : ``linear:0.5`` or ``uniform:0.8``: the probability that each branch runs.
    sample : put examples of the test part into the checkpoint, at most 2,000 of at most 1 MB.
    gradient_norms : write ``gradient_norms.csv``: a row for each layer, at the start and by epoch.
    beside : folders of other trainings, whose histories are drawn in the same figure.
    device : a GPU if there is one, where left out.
    """

    arch: str
    data: str
    recipe: Recipe
    test_data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    start_from: str | None = None
    stochastic_depth: str | None = None
    gradient_norms: bool = False
    sample: bool = True
    beside: tuple[Path, ...] = ()
    seed: int = 0
    device: str | None = None


def train_network(
    run: Run, plan: Plan, *, show_progress: bool = False
) -> tuple[pd.DataFrame, Path]:
    """Train a network for small images and write ``ARCH.pt`` and ``history.csv``.

    Images are normalised by the training set's own mean and deviation of each channel. A run that was
    interrupted goes on where it was last saved. Several processes divide each batch; the first one writes.

    Returns
    -------
    DataFrame, Path : the history, one row per epoch, and the checkpoint.

    Raises
    ------
    CheckpointError, DataError : for an architecture or data that do not fit.
    ResanalysisError : for a folder to draw beside that holds no history.
    """
    # A wrong folder is said before hours of work, not after.
    others = [_history_of(folder) for folder in plan.beside]
    if plan.test_data is None and plan.data.partition(":")[0] not in SPLIT:
        raise DataError(
            f"{plan.data} has no test part of its own: name one with --test-data, or train on "
            f"{', '.join(f'{name}:DIR' for name in SPLIT)}"
        )
    training, training_set = _examples(plan.data, "train")
    test, test_set = _examples(plan.test_data or plan.data, "test", of=training)
    if training.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"images of {training.images.shape[1:]} to train on and of {test.images.shape[1:]} to test "
            "on: they must have one shape"
        )
    beginning = _beginning(plan, training)
    architecture = beginning.architecture
    recorded: dict[str, Any] = {"arch": str(architecture), "data": plan.data}
    recorded |= {"test_data": plan.test_data, "options": dict(architecture.options)}
    recorded |= {"recipe": asdict(plan.recipe), **_processes()}
    if beginning.began_with:
        recorded["began_with"] = {key: beginning.began_with[key] for key in ("name", "sha256")}
    digests = {"data": training_set.sha256, "test": test_set.sha256, "seed": plan.seed}
    state = train(
        beginning.model,
        training,
        test,
        recipe=plan.recipe,
        seed=plan.seed,
        device=device_named(plan.device),
        state_file=run.store({**recorded, **digests}).folder / "state.pt",
        with_gradient_norms=plan.gradient_norms,
        show_progress=show_progress,
    )
    name = f"{architecture}, seed {plan.seed}" + (", continued" if beginning.began_with else "")
    path = run.out / f"{architecture}.pt"
    frame = pd.DataFrame(state.history).assign(run=name)
    if not ranks().first:
        return frame, path
    _save(path, plan, beginning, state, training, test_set)
    _keep_tables(run, frame, state, others)
    run.files.append(path)
    run.finish(
        options=recorded,
        seed=plan.seed,
        data_sha256=training_set.sha256,
        n=len(training),
        timings={"train": sum(row["seconds"] for row in state.history)},
        facts=_facts(plan.recipe, state, len(test)),
    )
    return frame, path


def _save(
    path: Path,
    plan: Plan,
    beginning: Beginning,
    state: TrainingState,
    training: Examples,
    test_set: Dataset,
) -> None:
    """The checkpoint, with what it takes to measure it again: preprocessing, test data, a sample of them."""
    mean, std = tuple(training.mean), tuple(training.std)
    digest = replace(test_set, mean=mean, std=std).sha256
    save_checkpoint(
        path,
        state.model,
        architecture=beginning.architecture,
        preprocessing=Preprocessing(mean, std, tuple(training.images.shape[1:]), test_set.pixels),
        classes=test_set.classes,
        tested=DataRecord(plan.test_data or plan.data, "test", digest, len(test_set)),
        sample=sample_of(test_set, SAMPLE_BYTES) if plan.sample else None,
        recipe=asdict(plan.recipe),
        seed=plan.seed,
        data=plan.data,
        history=[{key: float(value) for key, value in row.items()} for row in state.history],
        **({"began_with": dict(beginning.began_with)} if beginning.began_with else {}),
        **_processes(),
    )


def _processes() -> dict[str, Any]:
    """How many there were, where it was more than one: batch norm saw shares of a batch."""
    return {"processes": ranks().size} if ranks().size > 1 else {}


def _keep_tables(
    run: Run, frame: pd.DataFrame, state: TrainingState, others: list[pd.DataFrame]
) -> None:
    run.keep_table("history", frame)
    run.keep_figure("history", draw_history(pd.concat([frame, *others], ignore_index=True)))
    if state.gradient_norms:
        norms = pd.DataFrame(state.gradient_norms)
        run.keep_table("gradient_norms", norms)
        run.keep_figure("gradient_norms", draw_gradient_norms(norms))


def _facts(recipe: Recipe, state: TrainingState, test_n: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"test_error": state.history[-1]["test_error"], "test_n": test_n}
    if recipe.train_units is not None:
        # Each batch of so many units runs through all paths of these, and no other.
        facts["paths_per_batch"] = 2**recipe.train_units
    return facts


def _history_of(folder: Path) -> pd.DataFrame:
    """The history another training left in its folder."""
    path = folder / "history.csv"
    if not path.is_file():
        raise ResanalysisError(
            f"{folder} has no history.csv to draw beside; name folders of --out of train"
        )
    return pd.read_csv(path)


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images (N, C, H, W), scaled to [0, 1]."""
    counts = [np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]
    levels = np.arange(256) / 255
    means = [float(np.average(levels, weights=count)) for count in counts]
    spreads = [
        float(np.sqrt(np.average((levels - mean) ** 2, weights=count)))
        for mean, count in zip(means, counts, strict=True)
    ]
    return tuple(round(m, 4) for m in means), tuple(round(s, 4) or 1.0 for s in spreads)


def _examples(
    name: str, split: Literal["train", "test"], *, of: Examples | None = None
) -> tuple[Examples, Dataset]:
    """Labelled images, normalised as those of ``of`` or by their own statistics."""
    data = dataset(name, normalize="none", split=split)
    if data.labels is None or data.mean is None:
        raise DataError(f"{name} has no labels to train with, or holds no images")
    images = np.ascontiguousarray(data.source.read(data.indices), dtype=np.uint8)
    mean, std = channel_statistics(images) if of is None else (of.mean, of.std)
    return Examples(images, data.labels, mean, std), data


def _beginning(plan: Plan, training: Examples) -> Beginning:
    """The network at its start, and its architecture with every unit's survival in it."""
    sizes = {"classes": int(training.labels.max()) + 1, "channels": training.images.shape[1]}
    try:
        if plan.start_from is None:
            chosen = random_network(plan.arch, plan.options, sizes, plan.seed)
        else:
            chosen = trained_network(plan.start_from, sizes, plan.seed)
        return leaving_out(chosen, plan.stochastic_depth, plan.recipe.train_units)
    except CheckpointError:
        raise  # of a file that cannot be read; it says which
    except ValueError as error:
        raise CheckpointError(f"cannot train {plan.start_from or plan.arch}: {error}") from None
