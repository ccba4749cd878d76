"""How much work an experiment is before it starts: passes through the network for each example.

A pass is one example through all units, forward. Routes with a common beginning share it, deleted units are not
run, and going back costs about two passes; these are estimates, good to a factor of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Of a random route, how much is not shared with the one before it.
_UNSHARED = 0.8
_BACKWARD = 2.0
# Of a pass, what a row of an order in which all units go in turn takes: half its branches are gone.
_GROWING = 0.4
# Sizes of the middle that rearrange tries where none are named.
_SIZES = 20
# Paths of one length that are drawn until their mean is known well enough, about.
_PATHS = 30


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes
    ----------
    passes : for each example.
    of : what multiplies, in words, such as ``30 draws``.
    seconds : that are spent whatever the examples.
    """

    passes: float
    of: tuple[str, ...] = ()
    seconds: float = 0.0


Works = Callable[[int, Mapping[str, Any]], Work]
"""From the number of units and the options (with their defaults) to the work."""


def nothing(units: int, options: Mapping[str, Any]) -> Work:
    """What asks the network's shape alone."""
    return Work(0.0)


def once(units: int, options: Mapping[str, Any]) -> Work:
    """One pass, or as good as none."""
    return Work(1.0)


def stream_work(units: int, options: Mapping[str, Any]) -> Work:
    """Forward with what is read off on the way, back once, and each unit deleted."""
    return Work(3 + _BACKWARD + units / 2)


def forward_and_back(units: int, options: Mapping[str, Any]) -> Work:
    """Forward once with what is read off on the way, and back once."""
    return Work(1 + _BACKWARD)


def each_unit(units: int, options: Mapping[str, Any]) -> Work:
    """Every unit altered once: all before it is shared."""
    return Work(1 + units / 2)


def each_effect(units: int, options: Mapping[str, Any]) -> Work:
    """Every unit skipped, in all and directly."""
    return Work(1 + units)


def random_deletions(units: int, options: Mapping[str, Any]) -> Work:
    """So many draws of each number of deleted units, of one protocol or both."""
    sizes = [k for k in options["removed"] if k <= units]
    both = 2 if options.get("transitions") == "both" else 1
    left = sum(1 - k / units for k in sizes)
    return Work(
        1 + both * options["draws"] * left * _UNSHARED,
        (f"{both * options['draws']} draws", f"{len(sizes)} sizes"),
    )


def orders(units: int, options: Mapping[str, Any]) -> Work:
    """Whole orders of the units."""
    draws = options.get("draws") or (300 if options.get("protocol") == "even" else 1000)
    return Work(1 + draws * _UNSHARED, (f"{draws} orders",))


def middles(units: int, options: Mapping[str, Any]) -> Work:
    """Each kind at each size; shuffles are drawn several times, loops run several times."""
    kinds = list(options["kinds"])
    sizes = len(options.get("sizes") or ()) or min(_SIZES, units - 1)
    times = {"shuffle": options["draws"], "looped": options["loops"], "swap": 0}
    runs = sum(times.get(kind, 1) for kind in kinds)
    swaps = units / 2 if "swap" in kinds else 0
    return Work(1 + runs * sizes * _UNSHARED + swaps, (f"{runs} changes", f"{sizes} sizes"))


def lengths(units: int, options: Mapping[str, Any]) -> Work:
    """Of each method, what all path lengths take: half a backward pass for each unit and sweep."""
    method = options["method"]
    methods = {method} if isinstance(method, str) else set(method)
    sweep = _BACKWARD * units / 2
    sweeps = ("exact" in methods) + options["repetitions"] * ("rms" in methods)
    paths = options.get("samples") or _PATHS
    sampled = units * paths * _BACKWARD / 2 if "sampled" in methods else 0
    return Work(1 + sweeps * sweep + sampled, (f"{units + 1} lengths",))


def unit_lengths(units: int, options: Mapping[str, Any]) -> Work:
    """Two sweeps over all lengths, forward and back."""
    return Work(1 + 3 * _BACKWARD * units / 2, (f"{units + 1} lengths",))


def pairs(units: int, options: Mapping[str, Any]) -> Work:
    """Every pair deleted: n³/6 unit evaluations."""
    return Work(1 + units**2 / 6, (f"{units * (units - 1) // 2} pairs",))


def growing(units: int, options: Mapping[str, Any]) -> Work:
    """All deletions of few units; else units deleted one after the other along random orders, not shared."""
    from resanalysis.experiments.shapley import MOST_EXACT, ORDERS

    sampled = options.get("orders") is not None or options.get("precision") is not None
    if units <= MOST_EXACT and not sampled:
        return Work(2.0 ** (units + 1) / units, (f"{2**units:,} deletions",))
    drawn = options.get("orders") or ORDERS
    return Work(1 + drawn * units * _GROWING, (f"{drawn} orders",))


def greedy(units: int, options: Mapping[str, Any]) -> Work:
    """Each order searched for on its share of the examples, and measured on the others."""
    from resanalysis.experiments.prune_order import AGAIN, DEFAULT

    orders: Sequence[str] = options.get("orders") or DEFAULT
    until = min(options.get("until") or units, units)
    share = float(options["calibration"])
    # Of a measure: forward and back, and so again after each unit that goes where it is taken anew.
    searched = {
        "greedy": until * units / 4,
        "lesion": units / 2,
        "span": units**2 / 6,
        "random": 0.0,
    }
    searched["interactions"] = pairs(units, {}).passes
    found = sum(
        searched.get(name, 3.0 * (until if name.startswith(AGAIN) else 1)) for name in orders
    )
    rows = until * sum(int(options["draws"]) if name == "random" else 1 for name in orders)
    passes = 1 + share * found + (1 - share) * rows * _GROWING
    of = (f"{len(orders)} orders", f"{until} steps")
    return Work(passes, of, seconds=float(options["timing"]))


def factors(units: int, options: Mapping[str, Any]) -> Work:
    """The whole network for each factor."""
    return Work(float(len(options["factors"])), (f"{len(options['factors'])} factors",))


def streams(units: int, options: Mapping[str, Any]) -> Work:
    """One pass, and products of all streams."""
    return Work(3.0)
