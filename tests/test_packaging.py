"""What is built for others to install: every file of the package is in it, and it runs from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "resanalysis", "studies")
BUILD = "from setuptools.build_meta import {0}; {0}('dist')"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources elsewhere: an older build/ beside them would end up in the wheel."""
    setuptools = pytest.importorskip("setuptools", reason="needs setuptools to build with")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or later, as pyproject.toml says")
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            # resanalysis/studies stays the link that it is in a checkout
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    (folder / "dist").mkdir()
    return folder


def built(copy: Path, what: str) -> Path:
    command = [sys.executable, "-c", BUILD.format(what)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = (copy / "dist").glob("*.whl" if what == "build_wheel" else "*.tar.gz")
    return found


def package_files() -> set[str]:
    paths = (path for path in (ROOT / "resanalysis").rglob("*") if path.is_file())
    own = {str(p.relative_to(ROOT)) for p in paths if "__pycache__" not in p.parts}
    return own | {f"resanalysis/{p.relative_to(ROOT)}" for p in (ROOT / "studies").glob("*/*")}


@pytest.mark.slow
def test_the_wheel_holds_the_package(copy: Path) -> None:
    with zipfile.ZipFile(built(copy, "build_wheel")) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("resanalysis/")}
    assert inside == package_files()
    assert {"resanalysis/py.typed", "resanalysis/bundled/test-data.json"} <= inside


@pytest.fixture(scope="module")
def source_archive(copy: Path) -> Path:
    return built(copy, "build_sdist")


@pytest.mark.slow
def test_the_source_archive_holds_the_package(source_archive: Path) -> None:
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() | {"pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("study run veit2016 --only paths", "paths/paths.csv"),
        pytest.param(
            "lesion bundled:resnet20-fashion-mnist --limit 20",
            "lesion.pdf",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_what_the_source_archive_builds_runs_from_an_empty_environment(
    line: str, file: str, source_archive: Path, tmp_path: Path
) -> None:
    """No index, no checkout: the package comes from the wheel, what it needs is lent by a path file."""
    with tarfile.open(source_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("resanalysis-*")
    (source / "dist").mkdir()
    wheel = built(source, "build_wheel")
    venv.create(tmp_path / "empty", symlinks=True)
    programs = tmp_path / "empty" / "bin"
    (site,) = (tmp_path / "empty").glob("lib/python*/site-packages")
    work = tmp_path / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"

    def run(*words: object) -> str:
        line = [str(word) for word in words]
        done = subprocess.run(
            line, cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--python", programs / "python"]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel)
    lent = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)))
    place = run(programs / "python", "-c", "import resanalysis; print(resanalysis.__file__)")
    assert Path(place.strip()).parent == site / "resanalysis"
    run(programs / "resanalysis", *line.split())
    assert (work / "results" / file).is_file()


def test_the_citation_is_of_this_version() -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which timm brings")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^```bibtex\n(.*?)^```$", readme, re.S | re.M)
    assert f"version = {{{project['version']}}}" in entry
    assert f"title   = {{{citation['title']}}}" in entry


def test_every_pinned_version_runs_on_the_first_release_of_each_python() -> None:
    """Debian's Python is 3.11.2: a version that asks for 3.11.5 would stop the installation there."""
    pins = re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
    )
    refused: list[str] = []
    looked = 0
    for name, version in pins:
        try:
            found = metadata(name)
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        if found["Version"] == version:
            looked += 1
            asked = found["Requires-Python"] or ""
            refused += [f"{name}: {asked}"] * ("3.11.0" not in SpecifierSet(asked))
    if not looked:
        pytest.skip("needs the versions of constraints.txt; this environment has others")
    assert not refused
