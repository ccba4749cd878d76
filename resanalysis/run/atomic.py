"""Files that are whole or not there, and folders that one process has for itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from resanalysis.errors import cannot_write
from resanalysis.ranks import ranks

try:
    import fcntl
except ImportError:  # Windows: no locks, two runs of one command must not share a folder
    fcntl = None


def write_atomically(path: Path, content: bytes, *, every_process: bool = False) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part.

    Parameters
    ----------
    every_process : whether each process of a run writes it, and not the first alone.

    Raises
    ------
    ResultsError : if it cannot be written; what was there stays.
    """
    write_together({path: content}, every_process=every_process)


def write_together(contents: Mapping[Path, bytes], *, every_process: bool = False) -> None:
    """Write files that belong together: none is replaced before all of them are on the disk.

    All processes of a run have all results; the first one writes them.

    Raises
    ------
    ResultsError : if one cannot be written; what was there stays.
    """
    if not (every_process or ranks().first):
        return
    temporaries: dict[Path, str] = {}
    path = Path()
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # In the folder of the file itself: a rename is atomic within one file system only.
            handle, temporaries[path] = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
            )
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                # Else a name could, after a power cut, stand for content that never came to the disk.
                os.fsync(file.fileno())
            # mkstemp's files are readable by their owner alone; results are as any file that the user makes.
            os.chmod(temporaries[path], 0o666 & ~_umask())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    # Ctrl-C too. What was replaced before stays replaced: its digest in the manifest tells.
    except BaseException as error:
        for temporary in temporaries.values():
            with suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def remove_left_over(path: Path) -> None:
    """Remove what a killed process left of a write to this file.

    Only for one who has locked it: another's write that goes on would be lost.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask; reading it means setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def locked(folder: Path, *, wait: bool = False) -> int | None:
    """A descriptor that locks ``folder`` until it is closed; ``None`` where another run has it."""
    if fcntl is None:
        return -1
    while True:
        # The folder and no lock file: nothing is left when a process is killed.
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            return handle
        # a run that finished between open and lock has removed the folder this descriptor is of
        with suppress(FileNotFoundError):
            if os.stat(folder).st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)
        folder.mkdir(parents=True, exist_ok=True)
