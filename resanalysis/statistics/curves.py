"""How far measured responses lie from published curves: He et al. 2015, Figure 7."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError

COLUMNS = ("net", "order", "layer_index", "std")
ORDERS = {"orig": "layer", "sorted": "rank"}
"""Orders of published curves, and the column of ``response.csv`` that is each one's axis."""


def published_responses(path: Path | str) -> pd.DataFrame:
    """Read published curves.

    Returns
    -------
    DataFrame : ``net``, ``order`` (``orig``: by layer; ``sorted``: by size), ``layer_index`` from 1, which
        may be a little off where it was read off a drawing, and ``std``.

    Raises
    ------
    ResanalysisError : if the file is no table of that kind.
    """
    try:
        frame = pd.read_csv(path)
        missing = [name for name in COLUMNS if name not in frame]
        if not missing:
            frame = frame.astype({"net": str, "order": str, "layer_index": float, "std": float})
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResanalysisError(f"cannot read published curves from {path}: {reason}") from None
    if missing or not len(frame):
        raise ResanalysisError(
            f"{path} holds no published curves: it needs the columns {', '.join(COLUMNS)} and lacks "
            f"{', '.join(missing) or 'rows'}"
        )
    unknown = sorted(set(frame["order"]) - set(ORDERS))
    if unknown:
        raise ResanalysisError(
            f"{path}: order is {unknown[0]!r} in some rows; it is one of {', '.join(ORDERS)}"
        )
    return frame


def same_net(one: str, other: str) -> bool:
    """Whether two spellings mean one network: ``resnet20`` and ``ResNet-20``."""
    short, long = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (one, other))
    return short == long


def response_distance(frame: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare each model with the published network of its name, layer by layer.

    Parameters
    ----------
    frame : the table of ``response``.
    published : of ``published_responses``.

    Returns
    -------
    DataFrame : a row per model and order with ``model``, ``net``, ``order``, ``layers`` compared,
        ``median_ratio`` (measured over published), ``rms_difference`` (in units of the response),
        ``rms_log_ratio`` (0.1 is about 10 %), ``correlation`` (Pearson, over layers).

    Raises
    ------
    ResanalysisError : if no model has the name of a published network.
    """
    rows: list[dict[str, Any]] = []
    nets = list(dict.fromkeys(published["net"]))
    for model, layers in frame.groupby("model", sort=False):
        for net in (net for net in nets if same_net(str(model), net)):
            for order, axis in ORDERS.items():
                curve = published.loc[(published["net"] == net) & (published["order"] == order)]
                ours, theirs = _at_the_same_layers(layers, curve, axis)
                if len(ours):
                    rows.append({"model": model, "net": net, "order": order} | _of(ours, theirs))
    if not rows:
        raise ResanalysisError(
            f"no model has the name of a published network: there are {', '.join(nets)}; name a model "
            f"like one of them, as {nets[0]}=MODEL"
        )
    return pd.DataFrame(rows)


def _at_the_same_layers(
    layers: pd.DataFrame, curve: pd.DataFrame, axis: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ran = layers.loc[layers["std"].notna()]
    ours = dict(zip(ran[axis].astype(int), ran["std"].astype(float), strict=True))
    # A drawing's points lie a little beside the whole numbers they stand for.
    at = curve["layer_index"].round().astype(int)
    theirs = dict(zip(at, curve["std"].astype(float), strict=True))
    both = sorted(ours.keys() & theirs.keys())
    return np.array([ours[k] for k in both]), np.array([theirs[k] for k in both])


def _of(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ours / theirs
        varied = len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
        return {
            "layers": len(ours),
            "median_ratio": float(np.median(ratio)),
            "rms_difference": float(np.sqrt(np.mean((ours - theirs) ** 2))),
            "rms_log_ratio": float(np.sqrt(np.mean(np.log(ratio) ** 2))),
            "correlation": float(np.corrcoef(ours, theirs)[0, 1]) if varied else float("nan"),
        }
