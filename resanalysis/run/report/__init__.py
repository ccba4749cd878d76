"""``resanalysis report``: every experiment that applies, on one page, with files for a paper beside it.

``measuring`` runs the experiments into run folders; everything after reads those folders alone: ``results``
(tables and what made them), ``protocol`` (what a caption states, the command), ``words`` (numbers as text),
``svg`` and ``hover`` (a figure inside the page), ``listing`` (a table inside the page), ``page`` (all of it
through the templates), ``paper`` (PDF, LaTeX, BibTeX).
"""
