"""The run folder: exact tables, atomic writes, the manifest, what an interrupted run keeps."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from resanalysis.errors import ResultsError
from resanalysis.run import atomic
from resanalysis.run.atomic import write_atomically, write_together
from resanalysis.run.cells import json_rows
from resanalysis.run.folder import Run
from resanalysis.run.manifest import damaged, read_manifest, versions
from resanalysis.run.store import PartialStore

FINGERPRINT = {"command": "lesion", "seed": 0}


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unit": [-1, 0],
            "name": ["intact", "layer1.0, first"],
            "transition": [False, True],
            "units": [(), (3, 5)],
            "count": np.array([2**100, 1], dtype=object),
            "error": [0.1 + 0.2, float("nan")],
            "loss": np.array([0.1, 1e-30], dtype=np.float32),
        }
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_large_table_is_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Where pyarrow is installed; else it is text, and a note says so."""
    frame = table().drop(columns=["units", "count"])
    monkeypatch.setattr("resanalysis.run.folder.MOST_ROWS", 1)
    if there:
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setattr("resanalysis.run.folder.find_spec", lambda _: None)
    with Run(tmp_path, "lesion") as run:
        if there:
            path = run.keep_table("lesion", frame)
        else:
            with pytest.warns(UserWarning, match=r"lesion.csv has 2 rows of text; with pyarrow"):
                path = run.keep_table("lesion", frame)
        run.finish(options={})
    assert path.name == ("lesion.parquet" if there else "lesion.csv")
    assert damaged(tmp_path) == []
    if there:
        pd.testing.assert_frame_equal(pd.read_parquet(path), frame, check_dtype=False)
    else:
        assert rows_of(path)[1]["transition"] == "true"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_written_exactly(tmp_path: Path) -> None:
    with Run(tmp_path, "lesion") as run:
        path = run.keep_table("lesion", table())
        finish(run)
    assert path == tmp_path / "lesion.csv"
    first, second = rows_of(path)
    assert first == {
        "unit": "-1",
        "name": "intact",
        "transition": "false",
        "units": "",
        "count": "1267650600228229401496703205376",
        "error": "0.30000000000000004",
        "loss": "0.1",
    }
    assert second["transition"] == "true"
    assert second["units"] == "3 5"
    assert second["error"] == ""
    assert float(second["loss"]) == pytest.approx(1e-30)


def test_writing_a_table_leaves_the_frame_alone(tmp_path: Path) -> None:
    frame = table()
    with Run(tmp_path, "lesion") as run:
        run.keep_table("lesion", frame)
    pd.testing.assert_frame_equal(frame, table())


def test_json_rows_are_the_same_values(tmp_path: Path) -> None:
    first, second = json.loads(json.dumps(json_rows(table()), allow_nan=False))
    assert first["count"] == 2**100
    assert first["error"] == 0.30000000000000004
    assert first["loss"] == 0.1
    assert first["transition"] is False
    assert second["units"] == [3, 5]
    assert second["error"] is None


@pytest.mark.saves_figures
def test_a_figure_becomes_a_pdf_and_a_png(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    with Run(tmp_path, "lesion") as run:
        pdf, png = run.keep_figure("lesion", figure)
        finish(run)
        again = pdf.read_bytes(), png.read_bytes()
    with Run(tmp_path, "lesion") as run:
        run.keep_figure("lesion", figure)
        finish(run)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert (pdf.read_bytes(), png.read_bytes()) == again


def finish(run: Run, **changes: Any) -> None:
    values: dict[str, Any] = {
        "options": {"data": "x.npz", "remove": (1, 2), "out": Path("somewhere")},
        "seed": 3,
        "model_sha256": "a" * 64,
        "data_sha256": "b" * 64,
        "n": 1017,
        "timings": {"measure": 1.5},
        "view": {"units": np.int64(27)},
    }
    run.finish(**{**values, **changes})


def test_the_manifest_has_one_entry_per_command(tmp_path: Path) -> None:
    for command in ("lesion", "paths", "lesion"):
        with Run(tmp_path, command) as run:
            run.keep_table(command, table())
            finish(run, n=len(command))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert sorted(manifest) == ["lesion", "paths"]
    entry = manifest["lesion"]
    assert entry["command"] == "lesion"
    assert entry["options"] == {"data": "x.npz", "remove": [1, 2], "out": "somewhere"}
    assert entry["seed"] == 3
    assert entry["model_sha256"] == "a" * 64
    assert entry["data_sha256"] == "b" * 64
    assert entry["n"] == 6
    assert entry["timings"] == {"measure": 1.5}
    assert entry["view"] == {"units": 27}
    assert entry["files"] == ["lesion.csv"]
    assert entry["versions"] == versions()
    assert {"python", "torch", "numpy"} <= set(entry["versions"])


def test_a_finished_run_leaves_only_its_files(tmp_path: Path) -> None:
    with Run(tmp_path, "lesion") as run:
        run.store(FINGERPRINT).put("0", {"error": np.zeros(3)})
        run.keep_table("lesion", table())
        finish(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lesion.csv", "manifest.json"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        '{"lesion": {}',
        "\x00\x01",
        "[" * 100_000,
        '{"lesion": null}',
        '{"lesion": {"files": 5}}',
        '{"lesion": {"sha256": ["lesion.csv"]}}',
        '{"lesion": {"facts": "none"}}',
        '{"lesion": {"sha256": {"/etc/passwd": "0"}}}',
        '{"lesion": {"files": ["../other/lesion.csv"]}}',
    ],
    ids=range(11),
)
def test_a_damaged_manifest_is_reported_before_any_work(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(
        ResultsError, match=r"manifest\.json is damaged .* move it away and run again"
    ):
        Run(tmp_path, "lesion")
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_manifest_of_another_kind_is_reported(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(ResultsError, match=r"holds a list, not the entries of a run folder"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ResultsError, match=r"manifest\.json is not a file: move it away"):
        read_manifest(tmp_path)


def test_a_run_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    Run(tmp_path / "new", "lesion").close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    Run(tmp_path / "mine", "lesion").close()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    arrays = {"error": np.array([0.0, 1.0], dtype=np.float32), "kl": np.arange(4.0).reshape(2, 2)}
    with Run(tmp_path, "lesion") as run:
        run.store(FINGERPRINT).put("units 0..3 / images 0..500", arrays)
    with Run(tmp_path, "lesion") as run:
        store = run.store(FINGERPRINT)
        kept = store.get("units 0..3 / images 0..500")
        assert store.get("units 4..7 / images 0..500") is None
    assert kept is not None
    assert sorted(kept) == ["error", "kl"]
    for name, array in arrays.items():
        assert kept[name].dtype == array.dtype
        np.testing.assert_array_equal(kept[name], array)


def test_partial_results_of_other_options_are_kept_until_these_are_finished(tmp_path: Path) -> None:
    other = {**FINGERPRINT, "seed": 1}
    for fingerprint in (FINGERPRINT, other):
        with Run(tmp_path, "lesion") as run:
            run.store(fingerprint).put("0", {"error": np.zeros(3)})
    with Run(tmp_path, "lesion") as run:
        assert run.store(other).get("0") is not None
        run.finish(options={})
    with Run(tmp_path, "lesion") as run:
        assert run.store(other).get("0") is None
        assert run.store(FINGERPRINT).get("0") is not None
    with Run(tmp_path, "lesion", fresh=True) as run:
        assert run.store(FINGERPRINT).get("0") is None


def test_fresh_leaves_other_commands_alone(tmp_path: Path) -> None:
    with Run(tmp_path, "reorder") as run:
        run.store(FINGERPRINT).put("0", {"error": np.zeros(3)})
    with Run(tmp_path, "lesion", fresh=True) as run:
        finish(run)
    with Run(tmp_path, "reorder") as run:
        assert run.store(FINGERPRINT).get("0") is not None


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "text"])
def test_a_damaged_block_counts_as_missing(tmp_path: Path, damage: str) -> None:
    store = PartialStore(tmp_path / "blocks")
    store.put("0", {"error": np.arange(1000.0)})
    (path,) = (tmp_path / "blocks").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(
        {"empty": b"", "truncated": content[:3000], "text": b"no zip"}.get(damage, content)
    )
    assert store.get("0") is None
    assert len(store) == 0
    store.put("0", {"error": np.ones(2)})
    again = store.get("0")
    assert again is not None
    np.testing.assert_array_equal(again["error"], np.ones(2))


def test_a_block_with_pickled_objects_is_not_loaded(tmp_path: Path) -> None:
    store = PartialStore(tmp_path)
    store.put("0", {"error": np.zeros(1)})
    (path,) = tmp_path.iterdir()
    np.savez(path, error=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert store.get("0") is None


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResultsError, match=r"^--out .*file is a file; name a folder$"):
        Run(tmp_path / "file", "lesion")
    with pytest.raises(ResultsError, match=r"^cannot write .*below: not a directory"):
        Run(tmp_path / "file" / "below", "lesion")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_one_may_not_write_to_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        ResultsError, match=r"^cannot write .*: permission denied; name a folder you may write to"
    ):
        Run(tmp_path / "out", "lesion")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path, "lesion") as run:
        run.keep_table("lesion", table())
        finish(run)
    before = (tmp_path / "lesion.csv").read_bytes()
    with Run(tmp_path, "lesion") as run:
        run.store(FINGERPRINT).put("0", {"error": np.zeros(3)})

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        message = (
            r"cannot write .*: no space left on device; free some space and run the same command"
        )
        run.keep_table("lesion", table().head(1))
        with pytest.raises(ResultsError, match=message):
            run.store(FINGERPRINT).put("1", {"error": np.zeros(3)})
        with pytest.raises(ResultsError, match=message):
            finish(run)
    monkeypatch.undo()
    assert (tmp_path / "lesion.csv").read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))
    with Run(tmp_path, "lesion") as run:
        assert run.store(FINGERPRINT).get("0") is not None


def test_files_that_belong_together_are_replaced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the last of several files leaves all of the old ones."""
    contents = {tmp_path / name: name.encode() for name in ("a.csv", "a.pdf", "a.png")}
    write_together(dict.fromkeys(contents, b"old"))
    calls: list[int] = []
    write = os.fsync

    def full_at_the_third(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle)

    monkeypatch.setattr(os, "fsync", full_at_the_third)
    with pytest.raises(ResultsError, match="no space left on device"):
        write_together(contents)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("a.csv", "a.pdf", "a.png"), b"old"
    )


def test_the_manifest_knows_every_file(tmp_path: Path) -> None:
    with Run(tmp_path, "lesion") as run:
        run.keep_table("lesion", table())
        finish(run)
    entry = read_manifest(tmp_path)["lesion"]
    content = (tmp_path / "lesion.csv").read_bytes()
    assert entry["sha256"] == {"lesion.csv": hashlib.sha256(content).hexdigest()}
    assert damaged(tmp_path) == []
    (tmp_path / "lesion.csv").write_bytes(content + b" ")
    assert damaged(tmp_path) == ["lesion: lesion.csv is not the file that was written"]
    (tmp_path / "lesion.csv").unlink()
    assert damaged(tmp_path) == ["lesion: lesion.csv is missing"]


def test_a_file_without_a_digest_is_not_called_whole(tmp_path: Path) -> None:
    (tmp_path / "lesion.csv").write_text("0\n")
    entry = {"lesion": {"files": ["lesion.csv"], "sha256": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps(entry))
    assert damaged(tmp_path) == ["lesion: lesion.csv has no sha256 in manifest.json"]


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    write_atomically(path, b"old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == b"old"


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(atomic.fcntl is None, reason="this system has no file locks")
def test_one_command_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    with Run(tmp_path, "lesion"):
        Run(tmp_path, "paths").close()
        code = f"from resanalysis.run.folder import Run; Run({str(tmp_path)!r}, 'lesion')"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another run of lesion is writing to" in other.stderr
    Run(tmp_path, "lesion").close()
    assert list(tmp_path.iterdir()) == []
