"""The records of a file of ``torch.save``, which is a zip archive, looked at before torch reads them.

torch takes the sizes and the compression that the archive states: a file of 3 MB can ask for 3 GB. It
also reads records whose checksum is wrong. ``torch.save`` never compresses, so a record that is
compressed was put there by someone else, and all records together cannot be larger than their file.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

from resanalysis.checkpoint.errors import CheckpointError
from resanalysis.errors import ResanalysisError, shown

_CHUNK = 1 << 20


def check_records(path: Path) -> None:
    """Check sizes, compression and checksums of every record; memory for one chunk is all it takes.

    Raises
    ------
    CheckpointError : naming the first record that is not as the archive says.
    """
    try:
        check_archive(path, path.stat().st_size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}; copy or download it again, or save it again"
        ) from None


def check_archive(file: Path | BinaryIO, size: int) -> None:
    """``check_records`` of an archive that may lie in another one.

    Parameters
    ----------
    size : of the archive, in bytes.

    Raises
    ------
    BadZipFile, ValueError : naming the first record that is not as the archive says.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if _is_program(entries):
            return  # refused as a whole, or trusted as a whole; its source is compressed
        check_sizes(entries, size)
        for entry in entries:
            _check_sum(archive, entry)


def check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what would take more memory than its file is large.

    Parameters
    ----------
    size : of the file, in bytes.

    Raises
    ------
    ResanalysisError : naming a compressed entry, or what all entries claim together.
    """
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ResanalysisError(
                f"its entry {shown(entry.filename)!r} is compressed, which torch's never are"
            )
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size:
        raise ResanalysisError(
            f"its {len(entries)} entries claim {claimed:,} bytes, and it has {size:,}"
        )


def _is_program(entries: list[zipfile.ZipInfo]) -> bool:
    """Whether torch takes the archive for TorchScript: by one name, beside its first record."""
    root = entries[0].filename.partition("/")[0] if entries else ""
    return f"{root}/constants.pkl" in {entry.filename for entry in entries}


def _check_sum(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    # torch.serialization.set_crc32_options(False) writes a zero in its place.
    if entry.CRC == 0:
        return
    with archive.open(entry) as record:
        while record.read(_CHUNK):  # the end of the record compares its checksum
            pass
