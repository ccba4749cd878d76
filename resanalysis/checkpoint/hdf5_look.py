"""Looks at a file of Keras, in a process of its own: ``python hdf5_look.py FILE MOST SECONDS``.

The HDF5 library is written in C and believes what a file says: a damaged one can make it crash, or follow
a list in a circle for ever, and neither can be caught where it happens. So a file is first read whole here,
where both are only the end of this process. Imports nothing of the package, or it would take seconds.

Prints JSON: ``{"description": text or null}``, or ``{"problem": sentence}``.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any


class ProblemError(Exception):
    """Why the file is not read, as the end of a sentence."""


def description(path: str, most: int) -> str | None:
    """What a file says of its layers, after everything else in it was read.

    Parameters
    ----------
    most : bytes that its entries, and its arrays, may have together.
    """
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path, "r") as file:
            _read(file, most)
            found = file.attrs.get("model_config")
        return found.decode() if isinstance(found, bytes) else found
    with zipfile.ZipFile(path) as archive:
        _within(sum(entry.file_size for entry in archive.infolist()), most)
        broken = archive.testzip()
        if broken is not None:
            raise ProblemError(f"its entry {broken} has another checksum than its own")
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            _read(file, most)
        return archive.read("config.json").decode()


def _read(file: Any, most: int) -> None:
    """Everything in the file, once; the library is led through whatever is damaged."""
    total = 0

    def look(_: str, item: Any) -> None:
        nonlocal total
        # Attributes and values are read and thrown away: what crashes the library, or never ends, is to do so
        # here.
        dict(item.attrs)
        if hasattr(item, "dtype"):
            _stays_within(item)
            total += item.nbytes
            _within(total, most)
            item[()]
        else:
            _links_stay_within(item)

    look("", file)
    file.visititems(look)


def _within(size: int, most: int) -> None:
    if size > most:
        raise ProblemError(f"it unpacks to more than {most:,} bytes, far more than its own")


def _stays_within(dataset: Any) -> None:
    if dataset.is_virtual or dataset.external:
        raise ProblemError(f"{dataset.name} takes its values from another file")


def _links_stay_within(group: Any) -> None:
    import h5py

    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ProblemError(f"{group.name} links {name} to another file")


def _end_after(seconds: int) -> None:
    """Of a processor, so that neither a busy machine nor a slow disk ends it."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def main() -> None:
    try:
        _end_after(int(sys.argv[3]))
        print(json.dumps({"description": description(sys.argv[1], int(sys.argv[2]))}))
    except Exception as error:  # whatever a damaged file leads to is told to whoever asked
        text = str(error).strip() or type(error).__name__
        print(json.dumps({"problem": text.splitlines()[0][:300]}))


if __name__ == "__main__":
    main()
