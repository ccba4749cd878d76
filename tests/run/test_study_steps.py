"""Steps: from end to end, none twice, each after what it reads, and what becomes of failures."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.run import study_steps
from resanalysis.run.study import Step, Study, StudyError
from resanalysis.run.study_steps import Running, Task, run_tasks, tasks_of
from tests.run.test_study import TEXT, written


def study(*steps: Step) -> Study:
    return Study(Path("paper"), "T", "A", "V", (), {"n": {"small": "5"}}, steps)


def three() -> Study:
    return study(
        Step("train", "resanalysis train --seed {n}"),
        Step("lesion", "resanalysis lesion {out}/train/m.pt"),
        Step("paths", "resanalysis paths --units {n}"),
    )


class Processes:
    """In place of the processes: what ran, how many at once, and which fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codes: dict[str, int] | None = None):
        self.codes = codes or {}
        self.ran: list[str] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(study_steps, "_run", self)

    def __call__(self, task: Task, how: Running) -> tuple[int, str]:
        name = task.step.name
        with self._lock:
            self.ran.append(name)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.05)
        task.out.mkdir(parents=True, exist_ok=True)
        (task.out / "manifest.json").write_text(json.dumps({name: {"sha256": {}}}))
        if name == "train":
            (task.out / "m.pt").write_text("weights")
        with self._lock:
            self._now -= 1
        return self.codes.get(name, 0), f"error: {name} is wrong"


def running(said: list[str], jobs: int = 1, fresh: bool = False) -> Running:
    return Running(jobs, True, fresh, said.append)


def test_a_done_step_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes, said = Processes(monkeypatch), list[str]()
    tasks = tasks_of(three(), "small", {"n": "5"}, tmp_path)
    assert run_tasks(tasks, running(said)) == {}
    assert processes.ran == ["train", "lesion", "paths"]
    assert run_tasks(tasks, running(said)) == {}
    assert len(processes.ran) == 3
    assert "lesion: done before" in said
    # Another value, a file that was changed, a result that is gone: only what hangs on it runs again.
    run_tasks(tasks_of(three(), "small", {"n": "6"}, tmp_path, ["paths"]), running(said))
    assert processes.ran[3:] == ["paths"]
    (tmp_path / "train" / "m.pt").write_text("other weights")
    run_tasks(tasks, running(said))
    assert processes.ran[4:] == ["lesion", "paths"]
    (tmp_path / "paths" / "manifest.json").unlink()
    run_tasks(tasks, running(said))
    assert processes.ran[6:] == ["paths"]
    run_tasks(tasks, running(said, fresh=True))
    assert len(processes.ran) == 10


def test_a_result_that_was_changed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch)
    tasks = tasks_of(three(), "small", {"n": "5"}, tmp_path, ["paths"])
    run_tasks(tasks, running([]))
    manifest = {"paths": {"sha256": {"paths.csv": "0" * 64}}}
    (tmp_path / "paths" / "manifest.json").write_text(json.dumps(manifest))
    run_tasks(tasks, running([]))
    assert processes.ran == ["paths", "paths"]


def test_several_at_once_but_none_before_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch)
    run_tasks(tasks_of(three(), "small", {"n": "5"}, tmp_path), running([], jobs=2))
    assert processes.most == 2
    assert processes.ran.index("train") < processes.ran.index("lesion")
    processes = Processes(monkeypatch)
    run_tasks(tasks_of(three(), "small", {"n": "5"}, tmp_path), running([], fresh=True))
    assert processes.most == 1


def test_what_reads_a_failed_step_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch, {"train": 1})
    failed = run_tasks(tasks_of(three(), "small", {"n": "5"}, tmp_path), running([], jobs=3))
    assert failed["train"] == "error: train is wrong"
    assert failed["lesion"] == "step train, which it reads, did not end"
    assert sorted(processes.ran) == ["paths", "train"]


def test_a_step_that_was_stopped_stops_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch, {"train": 130})
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks_of(three(), "small", {"n": "5"}, tmp_path), running([]))
    assert "lesion" not in processes.ran


def test_one_who_stops_is_told_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Processes(monkeypatch, {"paths": 130})
    paper = written(tmp_path / "studies")
    result = CliRunner().invoke(app, ["study", "run", str(paper), "--out", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "kept in" in result.stderr
    assert not (tmp_path / "out" / "comparison.csv").exists()


def test_a_chosen_step_brings_what_it_reads(tmp_path: Path) -> None:
    tasks = tasks_of(three(), "small", {"n": "5"}, tmp_path, ["lesion"])
    assert [task.step.name for task in tasks] == ["train", "lesion"]
    assert tasks[1].words == ("lesion", f"{tmp_path}/train/m.pt")
    with pytest.raises(StudyError, match="no step no at scale small; there are train, lesion, pa"):
        tasks_of(three(), "small", {"n": "5"}, tmp_path, ["no"])


RUN = TEXT.replace(
    "[expected.small.paths]\nunits = 9",
    '[expected.small.paths]\nunits = 9\n"probability[length=0]" = 0.001953125\nmean = 5.5\n',
)


def test_a_run_compares_with_what_was_recorded(tmp_path: Path) -> None:
    """Real processes; a number that is not found again is an error after everything is written."""
    paper = written(tmp_path / "studies", RUN)
    line = ["study", "run", str(paper), "--out", str(tmp_path / "out"), "--jobs", "2"]
    result = CliRunner().invoke(app, [*line, "--set", "depth=20"])
    assert result.exit_code == 1
    assert "1 recorded numbers were not found again" in " ".join(result.output.split())
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("quantity")
    assert (tmp_path / "out" / "paths" / "paths.csv").is_file()
    assert table["same"].to_dict() == {"units": True, "probability[length=0]": True, "mean": False}
    again = CliRunner().invoke(app, line)
    assert "paths: done before" in again.output


ARMS = """
title = "T"
authors = "A"
venue = "V"
figures = []
[needs]
"""
for _name in ("a0", "a1", "b0", "b1"):
    ARMS += f'[[run]]\nname = "{_name}"\ncommand = "resanalysis train --seed {_name[1]}"\n'
ARMS += """
[[equivalence]]
name = "two ways"
one = ["a0", "a1"]
other = ["b0", "b1"]
quantity = "test_error"
margin = 0.05
"""


def test_two_ways_of_training_are_compared_over_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {"a0": 0.060, "a1": 0.061, "b0": 0.062, "b1": 0.060}

    def trained(task: Task, how: Running) -> tuple[int, str]:
        task.out.mkdir(parents=True)
        facts = {"test_error": errors[task.step.name]}
        (task.out / "manifest.json").write_text(json.dumps({"train": {"facts": facts}}))
        return 0, ""

    monkeypatch.setattr(study_steps, "_run", trained)
    out = tmp_path / "out"
    line = ["study", "run", str(written(tmp_path, ARMS)), "--out", str(out)]
    assert CliRunner().invoke(app, [*line, "--only", "a0"]).exit_code == 0
    assert not (out / "equivalence.csv").exists(), "one seed of one way says nothing"
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert "two ways: test_error differs by -0.0005" in result.output
    assert "equal within 0.05" in result.output
    (row,) = pd.read_csv(out / "equivalence.csv").to_dict("records")
    assert row["equivalent"]
    assert row["seeds_one"] == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 1, "holds no study.toml; there are paper"),
        (["paper", "--only", "no"], 1, "paper has no step no at scale small; there are paths"),
        (["paper", "--set", "x=1"], 2, "NAME one of"),
        (["paper", "--seed", "1"], 2, "No such option: --seed"),
        (["paper", "--set", "depth=21"], 1, "step paths failed: error: "),
    ],
)
def test_bad_words(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    written(tmp_path)
    line = ["study", "run", *words, "--studies", str(tmp_path), "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(app, [*line, "--quiet"])
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
