"""Tables → figures for a paper: functions of a tidy DataFrame and nothing else.

``figures.STEM`` draws the table of that name: the function ``STEM`` of the file ``tables/STEM.py``.
"""

from importlib import import_module
from pkgutil import iter_modules

from resanalysis.figures import tables
from resanalysis.figures.tables.paths import paths_remaining

__all__ = ["paths_remaining"]

for _file in iter_modules(tables.__path__):
    _draw = getattr(import_module(f"{tables.__name__}.{_file.name}"), _file.name, None)
    if callable(_draw):
        globals()[_file.name] = _draw
        __all__ += [_file.name]
