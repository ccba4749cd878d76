"""Traps that show whether a file made anything run: a file that is written, a program, a connection."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


class Canary:
    """Sings if code runs: ``sings`` says which trap was sprung.

    Parameters
    ----------
    folder : empty; the traps live in it.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "code-ran"
        self.program = folder / "program-ran"
        self.connections: list[object] = []
        programs = folder / "bin"
        programs.mkdir()
        # Ghostscript is what Pillow starts; curl and wget are what a payload would.
        for name in ("gs", "curl", "wget"):
            (programs / name).write_text(f"#!/bin/sh\ntouch {self.program}\n")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

        def refuse(_: socket.socket, address: object) -> None:
            self.connections.append(address)
            raise OSError("no network in this test")

        monkeypatch.setattr(socket.socket, "connect", refuse)

    def sings(self) -> str:
        """What ran; empty if nothing did."""
        ran = [str(path) for path in (self.file, self.program) if path.exists()]
        return ", ".join([*ran, *(f"a connection to {there}" for there in self.connections)])

    def hush(self) -> None:
        for path in (self.file, self.program):
            path.unlink(missing_ok=True)
        self.connections.clear()


class Payload:
    """Pickled as code that springs one of the traps."""

    def __init__(self, canary: Canary, kind: str) -> None:
        self.canary, self.kind = canary, kind

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        if self.kind == "system":
            return os.system, (f"touch {self.canary.file}",)
        if self.kind == "open":
            return open, (str(self.canary.file), "w")
        if self.kind == "eval":
            return eval, (f"__import__('pathlib').Path({str(self.canary.file)!r}).touch()",)
        return socket.create_connection, (("192.0.2.1", 80),)


PAYLOADS = ("system", "open", "eval", "connect")
