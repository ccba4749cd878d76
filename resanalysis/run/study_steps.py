"""The steps of a study, run: each a process of its own, several at once, none twice."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from resanalysis.run.atomic import write_atomically
from resanalysis.run.manifest import damaged, read_manifest
from resanalysis.run.study import OUT, STUDY, Step, Study, StudyError

RECORD = "step.json"
INTERRUPTED = 130


@dataclass(frozen=True)
class Task:
    """A step with its words filled in.

    Attributes
    ----------
    out : its folder, in that of the study.
    """

    step: Step
    words: tuple[str, ...]
    out: Path

    def record(self) -> bytes:
        """Its words, and the digests of the files they name: if both are as before, so are its results."""
        paths = [Path(word.partition("=")[2] or word) for word in self.words]
        read = {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file()
        }
        return json.dumps({"words": self.words, "files": read}, indent=2).encode()

    def done(self) -> bool:
        """Whether it ran to its end, with these words on these files, and its results are as it wrote them."""
        path = self.out / RECORD
        if not path.is_file() or path.read_bytes() != self.record():
            return False
        return bool(read_manifest(self.out)) and not damaged(self.out)


def tasks_of(
    study: Study, scale: str, values: Mapping[str, str], out: Path, only: Sequence[str] = ()
) -> list[Task]:
    """The steps of a scale with their words, in order; of ``only`` also those whose files they read.

    Raises
    ------
    StudyError : if there is no such step, or a placeholder has no value.
    """
    there = {step.name: step for step in study.at(scale)}
    for name in only:
        if name not in there:
            raise StudyError(
                f"{study.folder.name} has no step {name} at scale {scale}; there are "
                f"{', '.join(there) or 'none'}"
            )
    wanted = set(only or there)
    for step in reversed(there.values()):  # what a step reads comes before it
        wanted |= step.after() if step.name in wanted else set()
    filled = {**values, OUT: str(out), STUDY: str(study.folder)}
    return [
        Task(step, tuple(step.words(filled)), out / step.name)
        for step in there.values()
        if step.name in wanted
    ]


@dataclass(frozen=True)
class Running:
    """How steps are run.

    Attributes
    ----------
    jobs : how many at once.
    quiet : let the steps say nothing; of several at once none does.
    fresh : run also what is done, from its start.
    say : is told a sentence as a step begins and ends.
    """

    jobs: int
    quiet: bool
    fresh: bool
    say: Callable[[str], None]


def run_tasks(tasks: Sequence[Task], how: Running) -> dict[str, str]:
    """Run what is not done, a step after those whose files it reads.

    Returns
    -------
    dict : why, by the name of each step that did not end well. The others ran nevertheless, but for
        those that read what it did not write.

    Raises
    ------
    KeyboardInterrupt : if a step was stopped; what it computed is kept, and none is begun after it.
    """
    ends: dict[str, Future[str]] = {}
    with ThreadPoolExecutor(how.jobs) as pool:
        # In order: a step that waits for another occupies a place, and what it waits for has one before it.
        for task in tasks:
            before = {name: ends[name] for name in task.step.after() if name in ends}
            ends[task.step.name] = pool.submit(_ended, task, before, how)
        try:
            return {name: why for name, end in ends.items() if (why := end.result())}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ended(task: Task, before: Mapping[str, Future[str]], how: Running) -> str:
    """Run a step when those before it have ended; why it did not end well, or nothing."""
    for name, end in before.items():
        if end.result():
            return f"step {name}, which it reads, did not end"
    name = task.step.name
    if not how.fresh and task.done():
        how.say(f"{name}: done before")
        return ""
    how.say(f"{name}: resanalysis {shlex.join(task.words)}")
    code, said = _run(task, how)
    # It was the user's Ctrl-C, which reaches every process of the terminal: no step begins after it.
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        return said or f"exit code {code}"
    write_atomically(task.out / RECORD, task.record())
    how.say(f"{name}: ended")
    return ""


def _run(task: Task, how: Running) -> tuple[int, str]:
    """Exit code of a step's process, and the last line it said where nobody was listening."""
    silent = how.quiet or how.jobs > 1
    line = [sys.executable, "-P", "-m", "resanalysis", *task.words, "--out", str(task.out)]
    line += ["--quiet"] * silent + ["--fresh"] * how.fresh
    # The child finds the packages that this process found, wherever it was started.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if how.jobs > 1:
        # Steps at once share the processors, where each would start a thread for all of them.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // how.jobs)))
    heard = subprocess.PIPE if silent else None
    done = subprocess.run(line, env=environment, stdout=heard, stderr=heard, text=True, check=False)
    lines = (done.stderr or "").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""
