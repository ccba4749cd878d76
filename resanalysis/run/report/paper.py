"""``paper/``: every figure as PDF in two widths, every table as LaTeX and CSV, captions, references."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from resanalysis.figures.style import HALF
from resanalysis.run.atomic import write_together
from resanalysis.run.report.latex import MOST_ROWS, brief, escaped, tabular
from resanalysis.run.report.protocol import caption
from resanalysis.run.report.results import Result
from resanalysis.run.report.section import Of

_FIGURE = r"""\begin{{figure}}[p]
  \centering
  \includegraphics{{{file}}}
  \caption{{{caption}}}
\end{{figure}}
"""
_TABLE = r"""\begin{{table}}[p]
  \centering\footnotesize
  \resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{\input{{{file}}}}}
  \caption{{{caption}}}
\end{{table}}
"""
_DOCUMENT = r"""% Everything in this folder in one document: pdflatex all; bibtex all; pdflatex all, twice
\documentclass{{article}}
\usepackage[utf8]{{inputenc}}
\usepackage{{booktabs,graphicx}}
\usepackage[margin=2.5cm]{{geometry}}
\extrafloats{{100}}
\input{{captions}}
\begin{{document}}
{body}
\nocite{{*}}
\bibliographystyle{{plain}}
\bibliography{{methods}}
\end{{document}}
"""


def write_paper(out: Path, folders: Sequence[Of]) -> list[Path]:
    """Write ``paper/`` into a folder from the run folders of one or several models.

    Returns
    -------
    list : of the files. ``all.tex`` includes all others.

    Raises
    ------
    ResultsError : if they cannot be written; what was there stays.
    """
    contents: dict[str, bytes] = {}
    captions: list[str] = []
    body: list[str] = []
    for of in folders:
        for result in of.results():
            # Names that LaTeX takes everywhere, whatever a model is called.
            prefix = "".join(
                char if char.isalnum() and char.isascii() else "-" for char in of.label
            )
            name = f"{prefix}-{result.stem}" if of.label else result.stem
            macro = macro_of(folders.index(of) if of.label else None, result.stem)
            contents |= _figures(of, name, result) | _tables(name, result)
            captions.append(rf"\providecommand{{\{macro}}}{{{_caption(of, result)}}}")
            body += _included(name, macro, result)
    here = out / "paper"
    known = {
        **contents,
        "captions.tex": ("\n".join(captions) + "\n").encode(),
        "methods.bib": (files(__package__ or "") / "templates" / "methods.bib").read_bytes(),
        "all.tex": _DOCUMENT.format(body="\\clearpage\n".join(body)).encode(),
    }
    write_together({here / name: content for name, content in known.items()})
    return [here / name for name in known]


def macro_of(number: int | None, stem: str) -> str:
    """The command of a caption: ``\\captionLesionMany``, of the second model ``\\captionBLesionMany``."""
    which = "" if number is None else chr(ord("A") + number % 26)
    return "caption" + which + "".join(part.capitalize() for part in stem.split("_"))


def _figures(of: Of, name: str, result: Result) -> dict[str, bytes]:
    """Both widths, with fonts as text; a report has drawn the wide one."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure = result.draw(HALF)
        figure.savefig(content, format="pdf", dpi=300, metadata={"CreationDate": None})
    wide = (of.out / f"{result.stem}.pdf").read_bytes()
    return {f"{name}_full.pdf": wide, f"{name}_half.pdf": content.getvalue()}


def _tables(name: str, result: Result) -> dict[str, bytes]:
    """The headline numbers, and each table that fits on a page; all of them as CSV."""
    numbers = tabular(["", "value"], result.headlines(), [False, False])
    found = {f"{name}_numbers.tex": numbers.encode()}
    for stem, table in result.tables.items():
        own = name if stem == result.stem else f"{name}_{stem}"
        found[f"{own}.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
        if 0 < len(table) <= MOST_ROWS:
            found[f"{own}.tex"] = brief(table).encode()
    return found


def _caption(of: Of, result: Result) -> str:
    words = result.experiment.words
    label = f" of {of.label}" if of.label else ""
    text = f"{words.TITLE}{label}. {words.HOW_TO_READ} {caption(result.stem, result.entry)}"
    return escaped(text)


def _included(name: str, macro: str, result: Result) -> list[str]:
    """Both figures and the tables, for the document that shows all."""
    captioned = rf"\{macro}"
    parts = [
        _FIGURE.format(file=f"{name}_full.pdf", caption=captioned),
        _FIGURE.format(file=f"{name}_half.pdf", caption=captioned),
        _TABLE.format(file=f"{name}_numbers", caption=captioned),
    ]
    for stem, table in result.tables.items():
        if 0 < len(table) <= MOST_ROWS:
            own = name if stem == result.stem else f"{name}_{stem}"
            parts.append(_TABLE.format(file=own, caption=captioned))
    return parts
