"""Prints the oldest versions that pyproject.toml allows, as constraints for pip (``make test-oldest``)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def constraints(text: str) -> list[str]:
    """``torch==2.6.*`` for ``torch>=2.6``, ``rich==13.0.*`` for ``rich>=13``."""
    needs = [need.split(">=") for need in tomllib.loads(text)["project"]["dependencies"]]
    return [f"{name}=={bound if '.' in bound else bound + '.0'}.*" for name, bound in needs]


if __name__ == "__main__":
    print(*constraints((ROOT / "pyproject.toml").read_text(encoding="utf-8")), sep="\n")
