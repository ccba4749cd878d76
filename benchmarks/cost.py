"""What a sweep of single lesions costs against the number of units and of images: a table and a figure.

Networks are pre-activation CIFAR ResNets of random weights, 8 channels wide: speed does not depend on the
weights. Every point is measured several times; the figure has the median and the range. Lines go through the
point in the middle: n + n(n + 1)/2 unit evaluations an image (the intact network, and one sweep in which
common beginnings run once), and proportional to the number of images.

    python benchmarks/cost.py [--out docs] [--depths 20,32,56,110,218,404] [--images 32,62,125,250,500,1000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter
from numpy.typing import NDArray
from table import with_peak
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.figures.style import BLUE, GREY, RC, new_figure
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.network import ResidualNetwork

WIDTH = 8
FEW_IMAGES, FEW_DEPTH = 32, 56
"""Of the network while images vary, and of the images while networks do."""


def made(depth: int, example: Tensor) -> nn.Module:
    """A network with batch-norm statistics of its own, so that no number grows from unit to unit."""
    torch.manual_seed(0)
    model = CifarResNet(depth, channels=1, width=WIDTH, version=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(example)
    return model.eval()


def swept(network: ResidualNetwork, data: Dataset, repeats: int) -> dict[str, float]:
    """Seconds of the sweep, and the largest memory of the process meanwhile in MiB."""
    routes = [ra.intact(network), *(ra.without(network, [unit.index]) for unit in network.units)]

    def sweep() -> NDArray[np.float32]:
        return ra.evaluate(network, routes, data).values["error"]

    runs = [with_peak(sweep)[1:] for _ in range(repeats + 1)][1:]  # the first warms up
    times = [taken for taken, _ in runs]
    return {
        "seconds": float(np.median(times)), "seconds_low": min(times), "seconds_high": max(times),
        "peak_mib": max(peak for _, peak in runs),
    }  # fmt: skip


def measured(depth: int, images: int, repeats: int) -> dict[str, float]:
    """One point: unraveled and swept."""
    data = ra.dataset("bundled:fashion-mnist-test", limit=images)
    example = data.batch(0, min(images, 32))[0]
    assert isinstance(example, Tensor)
    model = made(depth, example)
    started = time.perf_counter()
    network = ra.unravel(model, example[:2])
    unravel = time.perf_counter() - started
    found = {"units": len(network), "images": images, "unravel_seconds": unravel}
    return {**found, **swept(network, data, repeats)}


@mpl.rc_context(RC)
def drawn(table: pd.DataFrame, path: Path) -> None:
    """Three panels: seconds against units, against images, and memory against images."""
    figure, axes = new_figure(panels=3, height=2.0)
    by_units = table.loc[table["images"] == FEW_IMAGES].sort_values("units")
    by_images = table.loc[table["units"] == FEW_DEPTH // 2 - 1].sort_values("images")
    n = by_units["units"].to_numpy(float)
    panel(axes[0], by_units, "units", n + n * (n + 1) / 2)
    axes[0].set(xlabel=f"Units n ({FEW_IMAGES} images)", title="dashed: n + n(n + 1)/2")
    panel(axes[1], by_images, "images", by_images["images"].to_numpy(float))
    axes[1].set(xlabel="Images (27 units)", title="dashed: proportional")
    axes[0].set_ylabel("Sweep of single lesions (s)")
    axes[2].plot(by_images["images"], by_images["peak_mib"], "o-", color=BLUE)
    axes[2].set(
        xscale="log",
        xlabel="Images (27 units)",
        ylabel="Peak memory (MiB)",
        ylim=(0, 1.1 * by_images["peak_mib"].max()),
    )
    ticked(axes[2], by_images["images"].tolist())
    figure.savefig(path)


def panel(ax: Axes, rows: pd.DataFrame, x: str, law: NDArray[np.float64]) -> None:
    """Measured points with their range, and the law through the middle one."""
    seconds = rows["seconds"].to_numpy(float)
    ends = [seconds - rows["seconds_low"], rows["seconds_high"] - seconds]
    middle = len(rows) // 2
    ax.plot(rows[x], law * seconds[middle] / law[middle], "--", color=GREY, zorder=1)
    ax.errorbar(rows[x], seconds, yerr=ends, fmt="o", color=BLUE, elinewidth=0.8)
    ax.set(xscale="log", yscale="log")
    ticked(ax, rows[x].tolist())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def ticked(ax: Axes, places: list[float]) -> None:
    """Ticks at every second place where it was measured."""
    ax.xaxis.set_major_locator(FixedLocator(places[::2]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())


def main() -> None:
    """Measure, print and write ``cost.csv`` and ``cost.png``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--depths", default="20,32,56,110,218,404")
    parser.add_argument("--images", default="32,62,125,250,500,1000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Images first: what a process has taken for a deep network, it does not give back.
    points = [(FEW_DEPTH, int(images)) for images in options.images.split(",")]
    points += [(int(depth), FEW_IMAGES) for depth in options.depths.split(",")]
    points = list(dict.fromkeys(points))
    rows: list[dict[str, float]] = []
    for depth, images in points:
        rows.append(measured(depth, images, options.repeats))
        print({name: round(float(value), 3) for name, value in rows[-1].items()}, flush=True)
    table = pd.DataFrame(rows).astype({"units": int, "images": int, "peak_mib": int})
    options.out.mkdir(parents=True, exist_ok=True)
    table.round(3).to_csv(options.out / "cost.csv", index=False)
    drawn(table, options.out / "cost.png")


if __name__ == "__main__":
    main()
