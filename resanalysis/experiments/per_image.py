"""What an experiment averages: its rows per example, damage by class, and the examples that flip."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from resanalysis.routes.answers import Answers
from resanalysis.statistics.intervals import is_rate, paired_intervals
from resanalysis.statistics.significance import false_discovery, mcnemar_exact

MOST_PICTURES = 24


def image_rows(answers: Answers) -> pd.DataFrame:
    """A row for each route and example.

    Returns
    -------
    DataFrame : ``route``, the number that the experiment's own table has too (0 is the intact network);
        ``example``, its place in the whole data; ``label``; ``prediction``; ``correct`` (a fraction where an
        output answers several times); ``loss``, ``kl`` from the intact output and ``entropy``, nats; and
        ``metric``. What is not defined is left out: labels, where there are none.
    """
    data = answers.measured()
    routes, n = answers.values["error"].shape
    labels = _labels(answers)
    frame = pd.DataFrame({"route": np.repeat(np.arange(routes, dtype=np.int32), n)})
    frame["example"] = np.tile(_examples(data).astype(np.int32), routes)
    if labels is not None:
        frame["label"] = np.tile(labels.astype(np.int32), routes)
    prediction = answers.values["prediction"]
    if not np.isnan(prediction).any():
        frame["prediction"] = prediction.ravel().astype(np.int32)
    error = answers.values["error"]
    if not np.isnan(error).all():
        frame["correct"] = (error.ravel() == 0) if is_rate(error) else 1 - error.ravel()
    for name in ("loss", "kl", "entropy", "metric"):
        values = answers.values.get(name)
        if values is not None and not np.isnan(values).all():
            frame[name] = values.ravel()
    return frame


def _examples(data: object) -> np.ndarray:
    indices = getattr(data, "indices", None)
    return np.arange(len(data)) if indices is None else np.asarray(indices)  # type: ignore[arg-type]


def _labels(answers: Answers) -> np.ndarray | None:
    """One class an example, where that is what there is."""
    labels = getattr(answers.measured(), "labels", None)
    return None if labels is None or np.ndim(labels) != 1 else np.asarray(labels)


def class_damage(answers: Answers, table: pd.DataFrame) -> pd.DataFrame | None:
    """What deleting each unit costs each class.

    Parameters
    ----------
    table : of ``lesion``, with its column ``route``.

    Returns
    -------
    DataFrame : a row for each class and unit: ``class``, ``class_name``, ``n`` examples of it, ``unit``,
        ``name``, ``error``, ``intact_error``, ``delta``, their paired difference with its interval
        ``delta_low``, ``delta_high`` (Agresti and Min), ``p_value`` of McNemar's exact test and ``p_fdr``,
        corrected over all cells. ``None`` where examples have no one class.
    """
    labels, error = _labels(answers), answers.values["error"]
    if labels is None or not is_rate(error):
        return None
    names: tuple[str, ...] | None = getattr(answers.measured(), "classes", None)
    units = table.loc[(table["unit"] >= 0) & (table["route"] >= 0)]
    parts: list[pd.DataFrame] = []
    for label in np.unique(labels):
        here = error[:, labels == label]
        deleted, intact = here[units["route"].to_numpy(int)], here[0]
        change = paired_intervals(deleted, intact)
        parts.append(
            pd.DataFrame(
                {
                    "class": int(label),
                    "class_name": str(label) if names is None else names[label],
                    "n": here.shape[1],
                    "unit": units["unit"].to_numpy(),
                    "name": units["name"].to_numpy(),
                    "error": deleted.mean(1, dtype=np.float64),
                    "intact_error": intact.mean(dtype=np.float64),
                    "delta": change.mean,
                    "delta_low": change.low,
                    "delta_high": change.high,
                    "p_value": [mcnemar_exact(row, intact) for row in deleted],
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    frame["p_fdr"] = false_discovery(frame["p_value"])
    return frame


def borderline(answers: Answers, table: pd.DataFrame) -> pd.DataFrame | None:
    """The examples whose answer the deletion of most units changes, the first first.

    Parameters
    ----------
    table : of ``lesion``, with its column ``route``.

    Returns
    -------
    DataFrame : a row for each example: ``example``, ``label``, ``prediction`` of the intact network,
        ``correct``, its ``entropy`` (nats), ``flips``, how many units change the answer when each is deleted
        alone, ``of`` so many, and ``units``, which (separated by spaces). Ties go to the higher entropy.
        ``attrs["pictures"]`` has PNG files of the first 24 images, ``attrs["classes"]`` the classes' names.
        ``None`` where an example has no one answer.

    Source: Jastrzębski et al. 2018, "Residual Connections Encourage Iterative Inference", §4.
    """
    prediction = answers.values["prediction"]
    if np.isnan(prediction).any():
        return None
    units = table.loc[(table["unit"] >= 0) & (table["route"] >= 0)]
    numbers = units["unit"].to_numpy(int)
    changed = prediction[units["route"].to_numpy(int)] != prediction[0]
    labels, error = _labels(answers), answers.values["error"]
    data = answers.measured()
    frame = pd.DataFrame({"example": _examples(data)})
    if labels is not None:
        frame["label"] = labels
    frame["prediction"] = prediction[0].astype(int)
    if not np.isnan(error[0]).any():
        frame["correct"] = error[0] == 0
    frame["entropy"] = answers.values["entropy"][0]
    frame["flips"], frame["of"] = changed.sum(0), len(numbers)
    frame["units"] = [" ".join(map(str, numbers[column])) for column in changed.T]
    # Stable, and by entropy next: of examples with as many flips those that the network is least sure of.
    frame = frame.sort_values(["flips", "entropy"], ascending=False, kind="stable")
    first = frame.index[:MOST_PICTURES].to_numpy()
    frame = frame.reset_index(drop=True)
    frame.attrs = {"pictures": _pictures(data, first), "classes": getattr(data, "classes", None)}
    return frame


def _pictures(data: object, places: np.ndarray) -> list[bytes]:
    """PNG files of examples, as they are before they are normalised; none of what is no image."""
    source, indices = getattr(data, "source", None), getattr(data, "indices", None)
    if source is None or indices is None or getattr(data, "mean", None) is None:
        return []
    from PIL import Image

    found: list[bytes] = []
    for image in np.asarray(source.read(indices[places]), dtype=np.uint8):
        content = io.BytesIO()
        grey = image.shape[0] == 1
        Image.fromarray(image[0] if grey else image.transpose(1, 2, 0)).save(content, "PNG")
        found.append(content.getvalue())
    return found


def tables_beside(stem: str, answers: Answers, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is written beside an experiment's own table; of single lesions also by class and by example."""
    tables = {f"{stem}_images": image_rows(answers)}
    if stem == "lesion":
        found = {
            "lesion_classes": class_damage(answers, table),
            "lesion_borderline": borderline(answers, table),
        }
        tables |= {name: frame for name, frame in found.items() if frame is not None}
    return tables
