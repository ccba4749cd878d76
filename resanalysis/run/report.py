"""All tables and figures of a run folder on one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, filterwarnings

import pandas as pd

from resanalysis.figures.headlines import headlines
from resanalysis.run.atomic import ResultsError, write_atomically
from resanalysis.run.folder import Run
from resanalysis.run.manifest import read_manifest
from resanalysis.run.measured import measure
from resanalysis.run.store import PartialStore
from resanalysis.run.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Experiment = Callable[[PartialStore], pd.DataFrame]

TITLES = {
    "inspect": "The unraveled view",
    "lesion": "Each unit deleted alone",
    "lesion_many": "Many units deleted together",
    "reorder": "Units in another order",
    "paths": "How long the paths are",
    "gradients": "Which path lengths carry the gradient",
    "response": "How strongly each layer responds",
    "stream": "What each unit adds to the stream",
}
"""The sections of the page, in order; a folder that lacks some gets a page without them."""

READING = {
    "inspect": "The network as stem, residual units and head. Colours are stages; transitions "
    "change the stream's shape.",
    "lesion": "Test error with one unit's branch deleted, its skip left in place. Bars are 95 % "
    "Wilson intervals, the dashed line is the intact network. The table has paired differences with "
    "their intervals, and exact McNemar tests corrected after Holm for the number of units.",
    "lesion_many": "Test error with k units deleted at random; each draw deletes one more unit of "
    "the same random order. A smooth rise is what an ensemble would show.",
    "reorder": "Test error against Kendall's tau between the new order and the trained one, taken "
    "over all units, also those that cannot move.",
    "paths": "Number of paths by the number of units whose branch they take; counted exactly.",
    "gradients": "Norm of the gradient by path length: of single paths, 32 drawn at each length, and of the "
    "exact sum over all paths of a length; bands are 95 % intervals.",
    "response": "Standard deviation of each layer's response after batch norm, before the nonlinearity "
    "or addition; bands are 95 % bootstrap intervals over images.",
    "stream": "Norms and angles of branch and skip, influence (1 − cosine of the stream before and after a "
    "unit), angle of the branch with the negative gradient, the model's own head after each unit of the last "
    "stage, angles over spans, and the rank correlation of each measure with the damage of a lesion. "
    "Bars are 95 % intervals.",
}

GRADIENT_IMAGES = 32
"""Images for the gradient by path length: it costs hundreds of backward passes an image."""

TRANSITIONS = {
    "lesion": "transitions are deleted too, and marked",
    "eligible": "transitions may be deleted",
    "excluded": "transitions are never deleted",
    "both": "both protocols: transitions may be deleted, and transitions stay",
    "reorder": "transitions stay in place",
}
"""What a caption says of units that change the stream's shape, by protocol or by stem."""


def measure_all(
    subject: Subject,
    out: Path,
    *,
    remove: Sequence[int],
    draws: int = 30,
    orders: int = 300,
    seed: int = 0,
    fresh: bool = False,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """Run every experiment on one subject into one folder.

    Parameters
    ----------
    remove : numbers of units to delete together; those the network does not have are left out.
    draws, orders : random draws for each number, and orders to try.
    running : ``batch_size``, ``device`` and ``show_progress``, which change no result.

    Returns
    -------
    dict : the table of each experiment by its stem, in the order of the page.
    """
    from resanalysis import figures
    from resanalysis.experiments.gradients import gradients
    from resanalysis.experiments.inspect import inspect
    from resanalysis.experiments.lesion import lesion
    from resanalysis.experiments.lesion_many import lesion_many
    from resanalysis.experiments.paths import paths
    from resanalysis.experiments.reorder import reorder
    from resanalysis.experiments.response import response, usual_kind
    from resanalysis.experiments.stream_page import stream_page

    network, data = subject.network, subject.examples()
    shared: dict[str, Any] = {"seed": seed, **running}
    sizes = tuple(k for k in remove if k <= len(network))
    many: dict[str, Any] = {"removed": sizes, "draws": draws, "transitions": "both"}
    part = subject.submodule
    kinds: dict[str, Any] = {"kinds": usual_kind(subject.module, part), "submodule": part}
    by_length: dict[str, Any] = {
        "method": ("exact", "sampled"),
        "samples": 32,
        "images": GRADIENT_IMAGES,
        "at": subject.gradients_at,
    }
    tables: dict[str, pd.DataFrame] = {}
    beside: dict[str, pd.DataFrame] = {}

    def stream(store: PartialStore) -> pd.DataFrame:
        beside.update(stream_page(network, data, lesion=tables["lesion"], store=store, **shared))
        return beside.pop("stream")

    plans: list[tuple[str, Experiment, Callable[[pd.DataFrame], Figure], dict[str, Any]]] = [
        ("inspect", lambda _: inspect(network, subject.example), figures.inspect, {}),
        ("lesion", lambda s: lesion(network, data, store=s, **shared), figures.lesion, {}),
        (
            "lesion_many",
            lambda s: lesion_many(network, data, store=s, **many, **shared),
            figures.lesion_many,
            many,
        ),
        (
            "reorder",
            lambda s: reorder(network, data, draws=orders, store=s, **shared),
            figures.reorder,
            {"draws": orders},
        ),
        ("paths", lambda _: paths(network), figures.paths, {}),
        (
            "response",
            lambda s: response({network.name: subject.module}, data, store=s, **kinds, **shared),
            figures.response,
            kinds,
        ),
        (
            "stream",
            stream,
            lambda frame: figures.stream(
                frame, spans=beside.get("stream_spans"), damage=beside.get("stream_damage")
            ),
            {},
        ),
    ]
    residual = any(unit.skip_kind != "none" for unit in network.units)
    if data.labels is not None and residual and not network.taps:
        plans.append(
            (
                "gradients",
                lambda s: gradients(network, data, store=s, **by_length, **shared),
                figures.gradients,
                by_length,
            )
        )
    for stem, experiment, draw, options in plans:
        with Run(out, stem, fresh=fresh) as run, catch_warnings():
            filterwarnings("ignore", "the interval of mean_norm")  # the figure shows it
            beside.clear()
            tables[stem] = measure(
                run, experiment, draw, options=options, seed=seed, subject=subject, beside=beside
            )
    return tables


def write_page(out: Path, title: str) -> Path:
    """Write ``report.html`` from the tables, figures and manifest entries in a run folder.

    Returns
    -------
    Path : the page; figures are inlined, so that it can be sent alone.

    Raises
    ------
    ResultsError : if the folder holds no finished experiment.
    """
    manifest = read_manifest(out)
    sections = [
        _section(out, stem, manifest[stem])
        for stem in TITLES
        if stem in manifest and (out / f"{stem}.csv").exists()
    ]
    if not sections:
        raise ResultsError(f"{out} holds no finished experiment; run resanalysis lesion first")
    entries = [entry for stem, entry in manifest.items() if stem in TITLES]
    first = next((entry for entry in entries if entry.get("data_sha256")), entries[0])
    text = PAGE.substitute(
        title=escape(title), facts=escape(_versions(first)), sections="\n".join(sections)
    )
    path = out / "report.html"
    write_atomically(path, text.encode())
    return path


def _section(out: Path, stem: str, entry: Mapping[str, Any]) -> str:
    frame = pd.read_csv(out / f"{stem}.csv", keep_default_na=True)
    frame.attrs.update(entry.get("facts") or {})
    rows = "\n".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in headlines(stem, frame)
    )
    return SECTION.substitute(
        stem=stem,
        title=escape(TITLES[stem]),
        reading=escape(READING[stem]),
        caption=escape(caption(stem, entry)),
        rows=rows,
        image=base64.b64encode((out / f"{stem}.png").read_bytes()).decode(),
    )


def caption(stem: str, entry: Mapping[str, Any]) -> str:
    """What a figure's caption has to state: N, data, batch norm, transitions, draws, seed.

    Parameters
    ----------
    entry : the command's entry in ``manifest.json``.
    """
    if stem in ("paths", "inspect"):
        units = (entry.get("view") or {}).get("units") or (entry.get("options") or {}).get("units")
        return f"{units} units; nothing here is random." if units else "Nothing here is random."
    options: Mapping[str, Any] = entry.get("options") or {}
    facts: Mapping[str, Any] = entry.get("facts") or {}
    parts = [
        f"N = {facts.get('n', entry.get('n'))} examples of {options.get('data')}",
        str(facts.get("subset") or ""),
        "batch norm with its stored statistics (eval mode), weights untouched",
        TRANSITIONS.get(str(facts.get("transitions", stem)), ""),
        "the skip is cut here and the branch kept" if options.get("part") == "skip" else "",
    ]
    if "kinds" in options:
        parts.append(f"layers of the kind {options['kinds']}")
    if "draws" in options:
        parts.append(
            f"{options['draws']} random {'draws per k' if 'removed' in options else 'orders'}"
        )
    parts.append(f"seed {entry.get('seed')}")
    return "; ".join(part for part in parts if part) + "."


def _versions(entry: Mapping[str, Any]) -> str:
    versions: Mapping[str, str] = entry.get("versions") or {}
    hashes = [
        f"{what} sha256 {str(entry[key])[:16]}…"
        for what, key in (("model", "model_sha256"), ("data", "data_sha256"))
        if entry.get(key)
    ]
    return "; ".join([*hashes, *(f"{name} {version}" for name, version in versions.items())])


SECTION = Template(
    """<section id="$stem">
<h2>$title</h2>
<figure><img alt="$title" src="data:image/png;base64,$image">
<figcaption>$reading $caption</figcaption></figure>
<table>
$rows
</table>
<p class="files">Table: $stem.csv. Figure: $stem.pdf, $stem.png.</p>
</section>"""
)

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title: residual analysis</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 46rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; color: #555; padding: .15rem 1.5rem .15rem 0;
  vertical-align: top; }
td { padding: .15rem 0; }
.files, footer { color: #777; font-size: .8rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$title</h1>
$sections
<footer>$facts</footer>
</body>
</html>
"""
)
