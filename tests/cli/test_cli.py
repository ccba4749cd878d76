"""Every command on a tiny trained-nowhere network: files, columns, exit codes, interruptions."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from resanalysis.checkpoint import save_checkpoint
from resanalysis.cli import app
from resanalysis.experiments import EXPERIMENTS
from resanalysis.models.architecture import Architecture
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.run.store import PartialStore

CONTRACT = {
    "lesion": "unit,name,stage,transition,error,error_low,error_high,delta,delta_low,delta_high,"
    "p_value,p_holm,loss,agreement,kl",
    "lesion_many": "removed,draw,units,error,loss,agreement",
    "reorder": "draw,swaps,kendall_tau,order,error,loss,agreement",
    "paths": "length,count,probability",
    "gradients": "length,count,mean_norm,mean_norm_low,mean_norm_high,rms_norm,total_upper,sum_norm,"
    "signed_share",
    "inspect": "unit,name,stage,transition,skip,join,in_shape,out_shape,parameters",
    "response": "model,layer,name,kind,std,std_low,std_high,rank",
    "stream": "unit,name,branch_norm,skip_norm,ratio,cosine,influence",
}
MANY = ["--remove", "1..3", "--draws", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of six units with the class count of ``data``."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    torch.save(CifarResNet(14, classes=10).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 random images of 16 × 16."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    save(path, random.integers(0, 256, (24, 3, 16, 16), dtype=np.uint8), np.arange(24) % 10)
    return path


def save(path: Path, images: NDArray[Any], labels: NDArray[Any]) -> None:
    np.savez(path, images=images, labels=labels)


def run(*words: object, out: Path | None = None) -> Result:
    line = [str(word) for word in words]
    return CliRunner().invoke(app, line if out is None else [*line, "--out", str(out)])


def succeed(*words: object, out: Path | None = None) -> Result:
    result = run(*words, out=out)
    assert result.exit_code == 0, result.output
    return result


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def commands(model: Path, data: Path) -> dict[str, list[object]]:
    on_data: list[object] = ["--data", data, "--normalize", "none"]
    return {
        "lesion": ["lesion", model, *on_data],
        "lesion_many": ["lesion", model, *on_data, *MANY],
        "reorder": ["reorder", model, *on_data, "--draws", 6],
        "paths": ["paths", "--depth", 110],
        "gradients": ["gradients", model, *on_data, "--samples", 4, "--repetitions", 2],
        "inspect": ["inspect", model, *on_data],
        "response": ["response", model, *on_data],
        "stream": ["stream", model, *on_data],
    }


@pytest.mark.parametrize("stem", list(CONTRACT))
@pytest.mark.saves_figures
def test_a_command_writes_what_the_contract_says_and_prints_the_table(
    stem: str, model: Path, data: Path, tmp_path: Path
) -> None:
    result = succeed(*commands(model, data)[stem], "--json", out=tmp_path)
    rows = rows_of(tmp_path / f"{stem}.csv")
    printed = json.loads(result.stdout)  # the table, and nothing else
    assert len(printed) == len(rows)
    for row, texts in zip(printed, rows, strict=True):
        assert list(row) == list(texts)
        for column, value in row.items():
            assert text_of(value) == texts[column], column
    columns = CONTRACT[stem].split(",")
    assert list(rows[0])[: len(columns)] == columns
    assert (tmp_path / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    entry = json.loads((tmp_path / "manifest.json").read_text())[stem]
    beside = [f"stream_{name}.csv" for name in ("lesion", "spans", "damage") if stem == "stream"]
    beside += ["inspect_parts.csv"] if stem == "inspect" else []
    assert entry["files"] == [f"{stem}.csv", *beside, f"{stem}.pdf", f"{stem}.png"]
    assert all((tmp_path / name).is_file() for name in entry["files"])
    assert {"options", "seed", "versions", "n", "timings", "view"} <= set(entry)
    if stem != "paths":
        assert entry["n"] == 24
        if stem == "response":
            weights = CifarResNet(14, classes=10).parameters()
            assert entry["view"]["tiny"]["parameters"] == sum(w.numel() for w in weights)
        else:
            assert entry["view"]["units"] == 6
            assert entry["view"]["transitions"] == [2, 4]
        assert len(entry["model_sha256"]) == len(entry["data_sha256"]) == 64
    assert not (tmp_path / ".partial").exists()


def test_without_json_a_command_names_its_files(model: Path, data: Path, tmp_path: Path) -> None:
    for stem in ("lesion", "paths"):
        result = succeed(*commands(model, data)[stem], out=tmp_path)
        assert f"{stem}.csv" in result.stdout.replace("\n", "")


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(text_of, value)) if isinstance(value, list) else str(value)


def test_quiet_says_nothing(model: Path, data: Path, tmp_path: Path) -> None:
    result = succeed(*commands(model, data)["lesion"], "--quiet", out=tmp_path)
    assert result.output == ""


def test_commands_share_a_folder(model: Path, data: Path, tmp_path: Path) -> None:
    for stem in ("inspect", "paths"):
        succeed(*commands(model, data)[stem], "--quiet", out=tmp_path)
    assert sorted(json.loads((tmp_path / "manifest.json").read_text())) == ["inspect", "paths"]


def test_lesion_errors_are_those_of_a_hook_that_zeroes_the_branch(
    model: Path, data: Path, tmp_path: Path
) -> None:
    succeed(*commands(model, data)["lesion"], "--quiet", out=tmp_path)
    net = CifarResNet(14, classes=10)
    net.load_state_dict(torch.load(model, weights_only=True))
    net.eval()
    arrays = np.load(data)
    images = torch.from_numpy(arrays["images"]).float() / 255
    labels = torch.from_numpy(arrays["labels"])
    blocks = [block for stage in (net.layer1, net.layer2, net.layer3) for block in stage]

    def error() -> float:
        with torch.no_grad():
            return float((net(images).argmax(1) != labels).double().mean())

    expected = [error()]
    for block in blocks:
        hook = block.bn2.register_forward_hook(lambda *args: torch.zeros_like(args[2]))
        expected.append(error())
        hook.remove()
    found = [float(row["error"]) for row in rows_of(tmp_path / "lesion.csv")]
    assert found == pytest.approx(expected, abs=1e-9)


def test_paths_are_exact_and_say_what_the_paper_says(tmp_path: Path) -> None:
    result = succeed("paths", "--depth", 110, out=tmp_path)
    assert "0.98017" in result.stdout
    assert "0.0045367" in result.stdout
    assert [int(row["count"]) for row in rows_of(tmp_path / "paths.csv")] == [
        comb(54, length) for length in range(55)
    ]


@pytest.mark.parametrize(
    ("words", "units"),
    [
        (["--depth", 164, "--block", "bottleneck"], 54),
        (["--units", 3], 3),
        (["--depth", 1202], 600),
    ],
)
def test_paths_of_other_networks(words: list[object], units: int, tmp_path: Path) -> None:
    succeed("paths", *words, "--quiet", out=tmp_path)
    rows = rows_of(tmp_path / "paths.csv")
    assert sum(int(row["count"]) for row in rows) == 2**units


def test_paths_of_a_model(model: Path, data: Path, tmp_path: Path) -> None:
    succeed("paths", model, "--input-shape", "3,16,16", "--quiet", out=tmp_path)
    rows = rows_of(tmp_path / "paths.csv")
    assert [row["count"] for row in rows] == ["1", "6", "15", "20", "15", "6", "1"]


def test_what_needs_no_torch_does_not_wait_for_it(tmp_path: Path) -> None:
    lines = [["--help"], ["lesion", "--help"], ["paths", "--depth", "110", "--out", str(tmp_path)]]
    code = (
        "import json, sys\n"
        "from resanalysis.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    app(words, standalone_mode=False)\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(f'{words} imports torch')"
    )
    line = [sys.executable, "-c", code, json.dumps(lines)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "paths.csv").is_file()


# What the page says of protocols, draws and seeds is theirs, and one of them is left out.
SOME = ("inspect", "lesion", "lesion_many", "rearrange")


@pytest.mark.parametrize(
    "stems",
    [
        SOME,
        pytest.param(
            [one.stem for one in EXPERIMENTS], marks=[pytest.mark.slow, pytest.mark.nightly]
        ),
    ],
    ids=["some", "all"],
)
def test_report_is_one_page(
    stems: Sequence[str],
    model: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = tuple(one for one in EXPERIMENTS if one.stem in stems)
    monkeypatch.setattr("resanalysis.run.report.measuring.EXPERIMENTS", chosen)
    words = ["report", model, "--data", data, "--normalize", "none"]
    said = succeed(
        *words, "--remove", "1..9", "--draws", 3, "--orders", 4, "--seed", 5, out=tmp_path
    ).stderr
    page = (tmp_path / "report.html").read_text()
    # An untrained network is at chance and has no accuracy that rearranging could cost.
    assert "note: rearrange is left out: the accuracy of" in said
    there = [one.stem for one in chosen if one.stem != "rearrange"]
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections == ["findings", *there, "left-out"]
    assert "<dt>rearrange</dt><dd>the accuracy of" in page
    assert page.count("<svg ") == 2 * len(there)
    assert "http-equiv" not in page  # nothing is to come
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "N = 24 examples of" in page
    assert "batch norm with its stored statistics (eval mode)" in page
    assert "both protocols: transitions may be deleted, and transitions stay" in page
    assert "3 random draws per k" in page
    assert "seed 5" in page
    assert "intact error" in page
    removed = {int(row["removed"]) for row in rows_of(tmp_path / "lesion_many.csv")} - {0}
    assert removed == {1, 2, 3, 4, 5, 6}
    assert {f"{stem}_full.pdf" for stem in there} <= {
        p.name for p in (tmp_path / "paper").iterdir()
    }
    assert succeed("check", tmp_path)


def test_check_of_an_entry_that_records_no_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"\\u001b[2Jlesion": {}}')
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert "\\x1b[2Jlesion: no file is recorded" in result.stderr


@pytest.mark.parametrize("stem", ["lesion", pytest.param("reorder", marks=pytest.mark.nightly)])
def test_an_interrupted_run_ends_with_the_same_table(
    stem: str, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*commands(model, data)[stem], "--batch-size", 6, "--quiet"]
    succeed(*words, out=tmp_path / "whole")

    put, kept = PartialStore.put, []

    def stop_after_two(self: PartialStore, key: str, arrays: Any) -> None:
        put(self, key, arrays)
        kept.append(key)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialStore, "put", stop_after_two)
    stopped = run(*words, out=tmp_path / "stopped")
    assert stopped.exit_code == 130
    assert "run the same command again to go on" in stopped.stderr
    assert not (tmp_path / "stopped" / f"{stem}.csv").exists()

    again: list[str] = []
    monkeypatch.setattr(PartialStore, "put", lambda self, key, arrays: again.append(key))
    succeed(*words, out=tmp_path / "stopped")
    assert again
    assert not set(again) & set(kept)
    whole, resumed = ((tmp_path / f / f"{stem}.csv").read_text() for f in ("whole", "stopped"))
    assert resumed == whole


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "kind", ["random", "truncated", "pickle", "torch pickle", "empty", "missing"]
)
def test_a_bad_checkpoint_is_one_clear_line(
    kind: str, model: Path, data: Path, tmp_path: Path
) -> None:
    path, trap = tmp_path / "bad.th", tmp_path / "executed"
    if kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "truncated":
        path.write_bytes(model.read_bytes()[:100_000])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(str(trap))))
    elif kind == "torch pickle":
        torch.save({"state_dict": Evil(str(trap))}, path)
    elif kind == "empty":
        path.write_bytes(b"")
    result = run("lesion", path, "--data", data, "--normalize", "none", out=tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "bad.th" in result.stderr
    assert "Traceback" not in result.stderr
    assert not trap.exists()
    assert not (tmp_path / "out" / "lesion.csv").exists()


@pytest.mark.parametrize("command", ["lesion", "response"])  # response needs no view
def test_labels_the_model_has_no_output_for(command: str, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.npz"
    save(path, np.zeros((4, 3, 16, 16), dtype=np.uint8), np.array([0, 3, 10, 99]))
    result = run(command, model, "--data", path, "--normalize", "none", out=tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "labels run from 0 to 99, the model has outputs 0 to 9; give it data of its own classes\n"
    )


def test_bad_data_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    for name in ("bad.npz", "missing.npz"):
        result = run("lesion", model, "--data", tmp_path / name, out=tmp_path / "out")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert name in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["pack", "x.pt"], "Missing option '--out'"),
        (["lesion", "x.pt", "--data", "y", "--remove", "3..1"], "'3..1' is no number or range"),
        (
            ["lesion", "x.pt", "--data", "y", "--remove", "3", "--until-width", "0.1"],
            "--until-width stops single lesions: leave out --remove, or it",
        ),
        (
            ["lesion", "x.pt", "--data", "y", "--remove", "3", "--top", "2"],
            "--top stops single lesions: leave out --remove, or it",
        ),
        (["paths"], "name one of MODEL, --depth and --units, got none of them"),
        (["paths", "--depth", "110", "--units", "3"], "got --depth and --units"),
        (["train", "--data", "x", "--recipe", "x"], "--recipe 'x' is none of he2015"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_usage_errors(words: list[str], text: str) -> None:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert text in result.stderr


def test_errors_of_our_checks(model: Path, data: Path, tmp_path: Path) -> None:
    result = run("paths", "--depth", 111, out=tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "111" in result.stderr
    result = run("inspect", model, out=tmp_path)
    assert result.exit_code == 2
    assert "does not record the shape of its input: name some data with --data" in result.stderr
    result = run("lesion", model, "--data", data, "--device", "abacus", out=tmp_path)
    assert result.exit_code == 1
    said = "error: cannot run on --device abacus: torch can compute on no such device here; name one of cpu"
    assert result.stderr.startswith(said)


def test_version() -> None:
    assert succeed("--version").stdout.startswith("resanalysis 0.")


def test_response_of_several_models_and_published_curves(
    model: Path, data: Path, tmp_path: Path
) -> None:
    curves = tmp_path / "curves.csv"
    curves.write_text(
        "net,order,layer_index,std\n" + "".join(f"ResNet-14,orig,{k},1\n" for k in range(1, 14))
    )
    words = [
        "response",
        f"resnet14={model}",
        f"other={model}",
        "--data",
        data,
        "--normalize",
        "none",
    ]
    result = succeed(*words, "--kinds", "3x3,linear", "--published", curves, out=tmp_path)
    rows = rows_of(tmp_path / "response.csv")
    assert [row["model"] for row in rows] == ["resnet14"] * 14 + ["other"] * 14
    (distance,) = rows_of(tmp_path / "response_distance.csv")
    assert (distance["model"], distance["net"], distance["layers"]) == (
        "resnet14",
        "ResNet-14",
        "13",
    )
    assert "resnet14 against ResNet-14" in result.stdout
    twice = run("response", model, model, "--data", data, "--normalize", "none", out=tmp_path)
    assert twice.exit_code == 1
    assert "two models are called 'tiny'" in twice.output
    none = run(
        "response", model, "--kinds", "7x7", "--data", data, "--normalize", "none", out=tmp_path
    )
    assert none.exit_code == 1
    assert "tiny has no 7x7 layers; it has 13 3x3, 1 linear" in none.output


@pytest.mark.nightly
def test_stream_writes_the_lesion_it_compares_with(model: Path, data: Path, tmp_path: Path) -> None:
    words = ["stream", model, "--data", data, "--normalize", "none"]
    succeed(*words, out=tmp_path)
    assert len(rows_of(tmp_path / "stream_lesion.csv")) == 7
    assert not (
        tmp_path / "lesion.csv"
    ).exists()  # which may hold a finished lesion of more examples
    found = rows_of(tmp_path / "stream_damage.csv")
    assert {row["method"] for row in found} == {"kendall", "spearman"}
    succeed(*words, "--no-damage", out=tmp_path / "b")
    assert not (tmp_path / "b" / "stream_lesion.csv").exists()
    assert not (tmp_path / "b" / "stream_damage.csv").exists()
    assert (tmp_path / "b" / "stream_spans.csv").exists()


def test_what_is_said_of_each_of_several_models_is_its_own(data: Path, tmp_path: Path) -> None:
    """Facts of a table (its mean length) are the model's, and not the first one's; the manifest has both."""
    files = {}
    for label, seed in (("a", 0), ("b", 1)):
        torch.manual_seed(seed)
        architecture = Architecture("cifar_resnet", {"depth": 8, "width": 4})
        files[label] = tmp_path / f"{label}.pt"
        save_checkpoint(files[label], architecture.make(), architecture=architecture)
    words = ["--data", data, "--normalize", "none", "--method", "exact", "--limit", "8"]
    named = [f"{label}={file}" for label, file in files.items()]
    said = succeed("gradients", *named, *words, out=tmp_path / "both").stdout
    facts = json.loads((tmp_path / "both" / "manifest.json").read_text())["gradients"]["facts"]
    assert facts["models"] == ["a", "b"]
    lengths = []
    for label, file in files.items():
        single = succeed("gradients", file, *words, out=tmp_path / label).stdout
        own = json.loads((tmp_path / label / "manifest.json").read_text())["gradients"]["facts"]
        lengths.append(own["mean_length_exact"])
        assert facts["of_each"][label]["mean_length_exact"] == lengths[-1]
        assert facts["n"] == own["n"]
        line = next(line for line in single.splitlines() if line.startswith("mean length"))
        assert line.strip() in [row.strip() for row in said.splitlines()]
    assert f"{lengths[0]:.2f}" != f"{lengths[1]:.2f}", "two networks that could be told apart"
    assert "mean_length_exact" not in facts


def test_several_models_are_told_apart(model: Path, data: Path, tmp_path: Path) -> None:
    """One table and figure; what is said of a model is of its rows, and its numbers are those it has alone."""
    words = ["--data", data, "--normalize", "none"]
    said = succeed("lesion", f"a={model}", f"b={model}", *words, "--pool", out=tmp_path / "both")
    assert said.stdout.count("intact error") == 2
    alone = succeed("lesion", model, *words, out=tmp_path / "alone")
    assert alone.stdout.count("intact error") == 1
    both = rows_of(tmp_path / "both" / "lesion.csv")
    single = rows_of(tmp_path / "alone" / "lesion.csv")
    for label in "ab":
        own = [
            {k: v for k, v in row.items() if k != "model"} for row in both if row["model"] == label
        ]
        assert own == single
    pooled = rows_of(tmp_path / "both" / "lesion_pooled.csv")
    assert [row["seeds"] for row in pooled] == ["2"] * 7
    for row, other in zip(pooled, single, strict=True):  # two equal seeds: no spread between them
        assert float(row["error"]) == pytest.approx(float(other["error"]))
        assert row["error_low"] == row["error"] == row["error_high"]
