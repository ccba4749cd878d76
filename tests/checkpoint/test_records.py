"""A file that says it is damaged, or that would take more memory than it is large, is not read."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
import torch

from resanalysis.checkpoint import CheckpointError, ModelInfo, load
from resanalysis.checkpoint import reading as reading_module
from resanalysis.checkpoint.records import check_records
from tests.conftest import cifar


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    torch.save(cifar(8).state_dict(), tmp_path / "whole.pt")
    return tmp_path / "whole.pt"


def rewritten(source: Path, target: Path, compression: int) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return target


def test_a_wrong_checksum_is_noticed_in_every_record(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    with zipfile.ZipFile(whole) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size]
    for entry in entries:
        # The data begin behind a local header of 30 bytes, the name and the padding.
        lengths = content[entry.header_offset + 26 : entry.header_offset + 30]
        start = entry.header_offset + 30 + sum(memoryview(lengths).cast("H"))
        damaged = bytearray(content)
        damaged[start] ^= 1
        path = tmp_path / "d.pt"
        path.write_bytes(damaged)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() == entry.filename
        with pytest.raises(
            CheckpointError, match=rf"d.pt is damaged: Bad CRC-32.*{re.escape(entry.filename)}"
        ):
            load(path)


def test_files_that_were_written_without_checksums_load(tmp_path: Path) -> None:
    model = cifar(8)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model.state_dict(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        assert archive.testzip() is not None
    loaded = load(tmp_path / "m.pt").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


def test_compressed_records_are_refused_before_they_are_unpacked(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_records(rewritten(whole, tmp_path / "stored.pt", zipfile.ZIP_STORED))
    bomb = rewritten(whole, tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(reading_module.torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(CheckpointError, match=r"its entry '.*data.pkl' is compressed, which torch"):
        load(bomb)


def test_records_cannot_claim_more_than_their_file(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (2**31).to_bytes(4, "little")  # the size unpacked
    whole.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"entries claim 2,147,\d\d\d,\d\d\d bytes, and it"):
        load(whole)


def test_the_digest_is_of_the_file_and_holds_none_of_it(whole: Path) -> None:
    info = load(whole).resanalysis
    assert isinstance(info, ModelInfo)
    assert info.sha256 == hashlib.sha256(whole.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate m"),
    ],
)
def test_too_little_memory_names_the_file(
    whole: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reading_module.torch, "load", fail)
    with pytest.raises(
        CheckpointError, match=r"whole.pt \([\d,]+ bytes\) needs more memory than there is"
    ):
        load(whole)
