"""Commands made from functions: shared options, one-line errors, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from resanalysis.cli.command import add_command, message
from resanalysis.cli.options import Output, Source, floats
from resanalysis.cli.subject import shape, whole_numbers
from resanalysis.errors import ResanalysisError
from resanalysis.progress import noticed_interrupts, progress_bar
from resanalysis.run.folder import Run

runner = CliRunner()


def app_of(failure: BaseException | None = None, *, keep: bool = False) -> tuple[typer.Typer, list]:
    app = typer.Typer()
    calls: list[tuple[str, Source, Output]] = []

    def probe(model: str, source: Source, output: Output) -> None:
        """Probe."""
        calls.append((model, source, output))
        if keep:
            with Run(output.out, "probe") as run:
                run.store({}).put("0", {"a": np.zeros(1)})
        if failure is not None:
            raise failure

    add_command(app, probe, panel="Probes", example="resanalysis probe x")
    return app, calls


def test_shared_options_arrive_as_dataclasses(tmp_path: Path) -> None:
    app, calls = app_of()
    line = f"x --out {tmp_path} --limit 5 --seed 3 --json --trust-pickle --mean 0.1,0.2 -q"
    result = runner.invoke(app, line.split())
    assert result.exit_code == 0, result.output
    assert calls == [
        (
            "x",
            Source(limit=5, trust_pickle=True, mean="0.1,0.2"),
            Output(out=tmp_path, seed=3, as_json=True, quiet=True),
        )
    ]


def test_defaults_are_those_of_the_dataclasses() -> None:
    app, calls = app_of()
    assert runner.invoke(app, ["x"]).exit_code == 0
    assert calls == [("x", Source(), Output())]


def test_help_names_every_option_and_the_example() -> None:
    result = runner.invoke(app_of()[0], ["--help"], env={"COLUMNS": "120"}, color=False)
    assert result.exit_code == 0
    for group in (Source, Output):
        for field in fields(group):
            own = {"as_json": "json", "output_name": "output"}
            name = own.get(field.name, field.name.replace("_", "-"))
            assert f"--{name}" in result.output
    assert "resanalysis probe x" in result.output


@pytest.mark.parametrize(
    "line", ["x --limit 0", "x --seed many", "x --mean a,b", "x --nothing", ""]
)
def test_a_usage_error_is_exit_code_2(line: str) -> None:
    app, calls = app_of()
    result = runner.invoke(app, line.split())
    assert result.exit_code == 2
    assert calls == []
    assert "Traceback" not in result.output


def test_an_unexpected_error_is_one_line() -> None:
    result = runner.invoke(app_of(RuntimeError("boom\nat length"))[0], ["x"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "unexpected error: RuntimeError: boom (a mistake of resanalysis, not yours: please report it with "
        "the command and the traceback that --debug shows)\n"
    )


def test_debug_shows_the_traceback() -> None:
    result = runner.invoke(app_of(RuntimeError("boom"))[0], ["x", "--debug"])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "in probe" in result.stderr


def test_our_own_checks_speak_for_themselves(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app, _ = app_of(keep=True)
    result = runner.invoke(app, ["x", "--out", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert result.stderr == f"error: --out {tmp_path / 'file'} is a file; name a folder\n"


def test_a_value_error_from_elsewhere_is_unexpected() -> None:
    with pytest.raises(ValueError, match="cannot reshape") as caught:
        np.zeros(3).reshape(2)
    assert message(caught.value).startswith("unexpected error: ValueError: cannot reshape")


def test_a_mistake_of_ours_is_not_put_on_the_user() -> None:
    """Also where the error has no frame of another package: zip() is written in C."""
    with pytest.raises(ValueError, match="zip") as caught:
        list(zip([1], [1, 2], strict=True))
    assert message(caught.value).startswith(
        "unexpected error: ValueError: zip() argument 2 is longer"
    )
    assert message(ResanalysisError("no such unit")) == "error: no such unit"


def test_options_that_mean_nothing_to_a_command_are_none() -> None:
    app = typer.Typer()
    calls: list[Source] = []

    def probe(source: Source) -> None:
        """Probe."""
        calls.append(source)

    add_command(app, probe, panel="Probes", example="x", without=("plain", "limit"))
    assert runner.invoke(app, ["--arch", "resnet20"]).exit_code == 0
    assert calls == [Source(arch="resnet20")]
    for words in (["--plain"], ["--limit", "3"]):
        assert runner.invoke(app, words).exit_code == 2


def test_a_swallowed_ctrl_c_is_noticed() -> None:
    """Python prints and forgets an exception in a weak reference's callback; the next progress raises it."""
    with noticed_interrupts(), progress_bar("x", 2, show=False) as advance:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            advance(1)
    with progress_bar("x", 1, show=False) as advance:
        advance(1)


def test_a_swallowed_ctrl_c_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[type[BaseException] | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))

    class Held:
        pass

    def swallow(act: Callable[[], object]) -> None:
        held = Held()
        kept = weakref.ref(held, lambda _: act())
        del held
        assert kept() is None

    def fail() -> None:
        raise ZeroDivisionError

    with noticed_interrupts(), progress_bar("x", 1, show=False) as advance:
        swallow(lambda: signal.raise_signal(signal.SIGINT))
        assert told == []
        swallow(fail)
        assert told == [ZeroDivisionError]
        with pytest.raises(KeyboardInterrupt):
            advance(1)


def test_errors_with_a_file_name_it() -> None:
    error = FileNotFoundError(2, "No such file or directory", "model.pt")
    assert message(error) == "error: model.pt: no such file or directory"
    assert message(MemoryError()) == "error: out of memory; try a smaller --batch-size, or --limit"


def test_ctrl_c_says_what_is_kept(tmp_path: Path) -> None:
    app, _ = app_of(KeyboardInterrupt(), keep=True)
    result = runner.invoke(app, ["x", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert result.stderr == (
        f"stopped; what was computed is kept in {tmp_path / '.partial'}: run the same command "
        "again to go on (with --fresh it starts over)\n"
    )
    assert list((tmp_path / ".partial").rglob("*.npz"))


def test_ctrl_c_before_anything_was_computed(tmp_path: Path) -> None:
    result = runner.invoke(app_of(KeyboardInterrupt())[0], ["x", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert result.stderr == "stopped; no results of this run had to be kept\n"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("5", (5,)), ("1..4", (1, 2, 3, 4)), ("7,1,2", (1, 2, 7)), ("1..3,3..4, 9", (1, 2, 3, 4, 9))],
)
def test_whole_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(text, "--remove") == numbers


def test_a_range_without_end_is_not_counted_through() -> None:
    with pytest.raises(typer.BadParameter, match="more than any network has units"):
        whole_numbers("1..999999999999", "--remove")


@pytest.mark.parametrize("text", ["", "0", "-1", "3..1", "1..", "..4", "a", "1,,2", "1...3", "1.5"])
def test_whole_numbers_are_refused(text: str) -> None:
    with pytest.raises(
        typer.BadParameter, match=r"is no number or range of numbers from 1 on; write"
    ):
        whole_numbers(text, "--remove")


def test_shape_and_floats() -> None:
    assert shape("3,32,32") == shape("3x32x32") == (3, 32, 32)
    assert floats("0.5, 0.25") == (0.5, 0.25)
    for wrong in ("", "3,0,3", "a", "3;3"):
        with pytest.raises(typer.BadParameter, match="is no shape; write it as 3,32,32"):
            shape(wrong)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("words", [["study", "list"], ["paths", "--depth", "8", "--json"]])
@pytest.mark.parametrize("to", ["gone", "full"])
def test_a_reader_that_is_gone_and_a_disk_that_is_full(
    words: list[str], to: str, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "resanalysis", *words]
    if words[0] == "paths":
        line += ["--out", str(tmp_path)]
    if to == "gone":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    found = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    said = found.stderr.splitlines()
    if to == "gone":
        assert (found.returncode, said) == (0, [])
    else:
        assert found.returncode == 1
        assert said[-1] == "error: the standard output cannot be written: no space left on device"
        assert "Exception ignored" not in found.stderr
