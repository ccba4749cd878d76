"""One file per experiment: protocol in, tidy table out. ``EXPERIMENTS`` lists them.

The façade, the command line, the report, the headline numbers and the tests read this one tuple. Adding an
experiment is a line here and the three files that the stem rule names: docs/add-an-experiment.md.
"""

from __future__ import annotations

from typing import Any

from resanalysis.experiments import work
from resanalysis.experiments.experiment import Experiment


def _residual(subject: Any) -> bool:
    """Gradients by path length need labels, skips, and one chain that the head reads once."""
    units = subject.network.units
    return (
        _labelled(subject)
        and any(u.skip_kind != "none" for u in units)
        and not subject.network.taps
    )


_GRADIENTS_NEED = "one label an example, and units with skips in one chain that the head reads once"


def _paths_in_report(subject: Any) -> dict[str, Any] | None:
    skips = any(unit.skip_kind != "none" for unit in subject.network.units)
    return {} if skips else None


def _gradients_in_report(subject: Any) -> dict[str, Any] | None:
    # Hundreds of backward passes an image: 32 images, and enough paths a length for an interval.
    options = {"method": ("exact", "sampled", "rms"), "images": 32, "at": subject.gradients_at}
    return options if _residual(subject) else None


def _unit_share_in_report(subject: Any) -> dict[str, Any] | None:
    return {"images": 32, "at": subject.gradients_at} if _residual(subject) else None


# All pairs cost about n³/6 unit evaluations an example; up to here that is less than many lesions at random.
MOST_UNITS_PAIRED = 30


def _labelled(subject: Any) -> bool:
    return subject.data is not None and subject.data.labelled


def _interactions_in_report(subject: Any) -> dict[str, Any] | None:
    deletable = sum(unit.deletable for unit in subject.network.units)
    paired = 2 <= deletable <= MOST_UNITS_PAIRED and len(subject.data or ()) > 1
    return {} if _labelled(subject) and paired else None


def _shapley_in_report(subject: Any) -> dict[str, Any] | None:
    there = any(unit.deletable for unit in subject.network.units) and len(subject.data or ()) > 1
    return {"orders": 10} if _labelled(subject) and there else None


def _effects_in_report(subject: Any) -> dict[str, Any] | None:
    units = subject.network.units
    there = any(unit.deletable for unit in units[:-1])  # one that has another behind it
    return {} if there and len(subject.data or ()) > 0 else None


def _scaling_in_report(subject: Any) -> dict[str, Any] | None:
    return {} if any(unit.skip_kind != "none" for unit in subject.network.units) else None


EXPERIMENTS = (
    Experiment(
        "inspect",
        "what are the units, stages and skips?",
        takes="example",
        page="resanalysis.experiments.inspect:inspect_page",
        streams=True,
        work=work.nothing,
    ),
    Experiment(
        "lesion",
        "which unit does the network need?",
        curve=("unit", "error"),
        per_image=True,
        drawn_beside=("lesion_classes", "lesion_borderline"),
        streams=True,
        work=work.each_unit,
    ),
    Experiment(
        "lesion_many",
        "how many units can go at once?",
        command="lesion",
        curve=("removed", "error"),
        in_report=lambda _: {"transitions": "both", "draws": 30},
        per_image=True,
        flags=(("removed", "--remove"),),
        streams=True,
        work=work.random_deletions,
    ),
    Experiment(
        "reorder",
        "are units tied to their place?",
        curve=("kendall_tau", "error"),
        per_image=True,
        streams=True,
        work=work.orders,
    ),
    Experiment(
        "rearrange",
        "do the middle units need their order, or each other?",
        per_image=True,
        work=work.middles,
    ),
    Experiment(
        "paths",
        "how long are the 2ⁿ paths?",
        takes="view",
        in_report=_paths_in_report,
        needs="units with skips",
        work=work.nothing,
    ),
    Experiment(
        "gradients",
        "which path lengths carry the gradient: summed exactly over all 2ⁿ paths, RMS, and sampled",
        curve=("length", "signed_share"),
        in_report=_gradients_in_report,
        needs=_GRADIENTS_NEED,
        flags=(("images", "--limit"),),
        work=work.lengths,
    ),
    Experiment(
        "unit_share",
        "which units carry the gradient of each path length?",
        command="gradients",
        in_report=_unit_share_in_report,
        needs=_GRADIENTS_NEED,
        flags=(("images", "--limit"),),
        always=("--units",),
        work=work.unit_lengths,
    ),
    Experiment(
        "response",
        "how strongly does each layer respond? several models side by side",
        takes="modules",
        in_report=lambda subject: {"kinds": subject.usual_kind, "submodule": subject.submodule},
        flags=(("submodule", ""),),
    ),
    Experiment(
        "stream",
        "what does each unit add to the stream, and which cheap measure tells the units that can go?",
        page="resanalysis.experiments.stream_page:stream_page",
        drawn_with=(("spans", "stream_spans"), ("damage", "stream_damage")),
        curve=("unit", "influence"),
        work=work.stream_work,
    ),
    Experiment(
        "refinement",
        "do the units of a stage refine one estimate, which its end is?",
        page="resanalysis.experiments.refinement_page:refinement_page",
        drawn_with=(("depth", "refinement_depth"),),
        in_report=lambda subject: {} if len(subject.data or ()) > 0 else None,
        needs="examples",
        work=work.forward_and_back,
    ),
    Experiment(
        "cka",
        "how alike are the streams after any two units, in one network or in two?",
        work=work.streams,
    ),
    Experiment(
        "prune",
        "in which order can units go? writes the shortened model, which runs with torch alone",
        in_report=lambda _: {"timing": 5.0},
        per_image=True,
        work=work.greedy,
    ),
    Experiment(
        "interactions",
        "do units depend on each other? the damage of every pair against the sum of the two",
        in_report=_interactions_in_report,
        needs=f"one label an example, and 2 to {MOST_UNITS_PAIRED} units that can be deleted",
        work=work.pairs,
    ),
    Experiment(
        "shapley",
        "what is each unit worth, over all orders in which units can go?",
        curve=("unit", "value"),
        in_report=_shapley_in_report,
        needs="one label an example, and units that can be deleted",
        work=work.growing,
    ),
    Experiment(
        "effects",
        "what does skipping a unit do to each later one, directly and in all?",
        in_report=_effects_in_report,
        needs="examples, and a unit before the last that can be deleted",
        work=work.each_effect,
    ),
    Experiment(
        "scaling",
        "what if all branches were longer or shorter?",
        page="resanalysis.experiments.scaling_page:scaling_page",
        drawn_with=(("orders", "scaling_orders"),),
        curve=("factor", "error"),
        in_report=_scaling_in_report,
        needs="units with skips",
        work=work.factors,
    ),
)


def experiment_named(stem: str) -> Experiment:
    """The experiment of that stem."""
    return next(one for one in EXPERIMENTS if one.stem == stem)


__all__ = ["EXPERIMENTS", "Experiment", "experiment_named"]
