"""A user's own function, named on the command line as ``package.module:function`` or ``FILE.py:function``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from resanalysis.errors import ResanalysisError, raised, shown


def user_function(name: str, option: str) -> Callable[..., Any]:
    """Import a function; the current folder counts as a place to import from.

    Parameters
    ----------
    name : ``package.module:function``, or ``FILE.py:function``.
    option : what the user wrote it after, for messages.

    Raises
    ------
    ResanalysisError : if there is no such module or function, or importing it fails.
    """
    name = name.removeprefix("python:")
    said = f"{option}{name}" if option.endswith(":") else f"{option} {name}"
    module_name, _, function_name = name.rpartition(":")
    if not module_name or not function_name:
        raise ResanalysisError(f"{said}: write package.module:function, or FILE.py:function")
    here, precision = os.getcwd(), torch.get_default_dtype()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = _module(module_name)
    except ModuleNotFoundError as error:
        if error.name not in _parents(module_name):
            raise _failed(said, module_name, error) from error
        raise ResanalysisError(
            f"{said}: there is no module {shown(str(error.name))} in the current folder, on PYTHONPATH or "
            "installed"
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(said, module_name, error) from error
    finally:
        torch.set_default_dtype(precision)  # what a file sets for all at its top is not for ours
        if added:
            sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ResanalysisError(f"{said}: {module_name} has no function {function_name}")
    return function


def _module(name: str) -> ModuleType:
    """A module by its name, or by the path of its file."""
    path = Path(name)
    if path.suffix != ".py":
        return importlib.import_module(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    # By its content: files of one name in two folders are two modules.
    known = f"{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path.absolute())
    assert spec is not None and spec.loader is not None  # of a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    # Before it runs, as an import does: dataclasses look their own module up while they are made.
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


def source_sha256(function: Callable[..., Any]) -> str:
    """Digest of the file that a user's function stands in.

    What an interrupted run computed with one version of it must not be mixed with another's.
    """
    file = source_file(function)
    if file is None or not Path(file).is_file():
        return "unknown"
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def source_file(function: Callable[..., Any]) -> str | None:
    """The file that a user's function stands in, if any."""
    return getattr(inspect.getmodule(function), "__file__", None)


def _parents(module: str) -> set[str]:
    """``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``: what has to be found before it is imported."""
    parts = module.split(".")
    return {".".join(parts[: n + 1]) for n in range(len(parts))}


def _failed(said: str, module: str, error: BaseException) -> ResanalysisError:
    return ResanalysisError(f"{said}: importing {module} raised {raised(error)}")
