"""Text and tables as LaTeX that compiles, whatever a unit is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from resanalysis.run.report.words import name_of, short

# What pdflatex reads as a command, and what of the texts of this package its fonts do not have.
_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "τ": r"$\tau$", "γ": r"$\gamma$", "α": r"$\alpha$",
    "ε": r"$\epsilon$", "σ": r"$\sigma$", "Σ": r"$\Sigma$", "χ": r"$\chi$", "∂": r"$\partial$",
    "‖": r"$\Vert$", "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$", "∞": r"$\infty$",
    "²": r"$^2$", "³": r"$^3$", "ⁿ": r"$^n$", "½": r"$1/2$", "′": r"$'$", "…": r"\dots{}",
    "–": r"\textendash{}",
    "“": "``", "”": "''", "’": "'", "⁺": r"$^+$", "π": r"$\pi$", "Δ": r"$\Delta$", "√": r"$\surd$",
    "₀": r"$_0$", "₁": r"$_1$", "\N{NO-BREAK SPACE}": "~",
}  # fmt: skip
_LATIN = range(0xC0, 0x180)

MOST_ROWS = 60
_MOST_COLUMNS = 7
_LONGEST = 30


def escaped(text: str) -> str:
    """A text that LaTeX typesets as it stands; letters its usual fonts lack become ``[U+4E2D]``."""
    # Two hyphens would become a dash.
    return "".join(_sign(char) for char in text).replace("--", "-{}-")


def _sign(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    if char.isascii():
        return char if char.isprintable() else " "
    return char if ord(char) in _LATIN else f"[U+{ord(char):04X}]"


def tabular(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A booktabs table.

    Parameters
    ----------
    header, rows : texts, not yet escaped.
    right : of each column, whether it is set to the right.
    """
    spec = "".join("r" if one else "l" for one in right)
    lines = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", _row(header), r"\midrule"]
    lines += [_row(row) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def brief(frame: pd.DataFrame) -> str:
    """A table of at most 60 rows for the page of a paper, each value with its interval in one cell.

    What is the same in every row is left out, and so are columns beyond the seventh: the CSV has them.

    Raises
    ------
    ValueError : for a longer table, which no page takes.
    """
    if len(frame) > MOST_ROWS:
        raise ValueError(f"{len(frame)} rows do not fit on a page")
    names = [str(name) for name in frame if not str(name).endswith(("_low", "_high"))]
    # Of a single row everything is the same in every row.
    kept = [n for n in names if len(frame) == 1 or len(set(map(str, frame[n]))) > 1]
    kept = kept[:_MOST_COLUMNS] or names[:1]
    right = [frame[name].dtype.kind in "iuf" for name in kept]
    rows = [[_cell(record, name) for name in kept] for record in frame.to_dict("records")]
    return tabular([name_of(name) for name in kept], rows, right)


def _cell(record: Any, name: str) -> str:
    """``0.12 [0.10, 0.14]``, where the table has the ends."""
    text = short(record[name])
    ends = [short(record.get(f"{name}{end}")) for end in ("_low", "_high")]
    if text and all(ends):
        text = f"{text} [{', '.join(ends)}]"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
