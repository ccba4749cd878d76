"""A user's own score is code of others: what it breaks is its own, and its errors say so."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.checkpoint import CheckpointError, check_fit, load
from resanalysis.datasets import DataError
from resanalysis.errors import ResanalysisError, raised
from resanalysis.routes.metric import measured_by
from tests.conftest import Batches, cifar


def distance(output: Tensor, labels: Tensor | None, intact: Tensor) -> Tensor:
    return (output - intact).norm(dim=1)


def in_place(output: Tensor, labels: Tensor, intact: Tensor) -> Tensor:
    found = distance(output, labels, intact)
    output.zero_()
    labels.zero_()
    intact.sub_(100)
    return found


def test_a_metric_that_works_in_place_changes_nothing(batches: Batches) -> None:
    network = ra.unravel(cifar(8), batches.inputs)
    clean = ra.lesion(network, batches, metric=distance)  # type: ignore[arg-type]
    found = ra.lesion(network, batches, metric=in_place)  # type: ignore[arg-type]
    assert clean["metric"].iloc[1:].min() > 0
    assert found.equals(clean)


def throw(kind: type[BaseException]) -> Tensor:
    raise kind


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def mute(*_: Any) -> Tensor:
    raise Mute


METRICS = {
    "missing": (lambda o, y, i: {}["no such key"], r"raised KeyError: 'no such key' \(test_metric"),
    "inside a library": (lambda o, y, i: torch.zeros(2) + torch.zeros(3), r"\(test_metric.py, line"),
    "closes": (lambda o, y, i: throw(GeneratorExit), "raised GeneratorExit"),
    "ends": (lambda o, y, i: sys.exit(0), r"raised SystemExit: 0 \(test_metric.py, line"),
    "mute": (mute, r"raised Mute: its text cannot be read \(test_metric.py, line"),
    "nothing": (lambda o, y, i: None, "returned None for 11 examples; it must return one number"),
    "text": (lambda o, y, i: ["a"] * len(o), "for 11 examples; it must return one number for each"),
    "shape": (lambda o, y, i: torch.zeros(3, 3), r"returned shape \(3, 3\) for 11 examples"),
    "complex": (lambda o, y, i: torch.zeros(11).cfloat(), r"complex numbers of shape \(11,\)"),
    "nan": (lambda o, y, i: o[:, 0].sign().sqrt(), r"returned nan for \d+ of 11 examples"),
    "infinite": (lambda o, y, i: o.norm(dim=1) / 0, "returned inf for 11 of 11 examples of a batch"),
}  # fmt: skip


@pytest.mark.parametrize("kind", METRICS)
def test_what_a_metric_does_wrong_is_said_in_one_line(kind: str) -> None:
    metric, message = METRICS[kind]
    output = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ResanalysisError, match=f"^the metric .*{message}") as caught:
        measured_by(metric, output, None, output, 11)
    assert str(caught.value).isprintable()


def in_double(output: Tensor, labels: Tensor, intact: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return torch.eye(len(output)).to_sparse()[0]


def test_a_metric_may_compute_in_double_and_answer_sparse() -> None:
    values = measured_by(in_double, torch.zeros(3, 5), None, torch.zeros(3, 5), 3)
    assert values.tolist() == [1, 0, 0]
    assert values.dtype is torch.get_default_dtype() is torch.float32


def test_a_metric_that_is_interrupted_is_interrupted() -> None:
    def stopped(*_: Any) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured_by(stopped, torch.ones(2, 3), None, torch.ones(2, 3), 2)


def test_of_an_output_that_is_not_finite_a_metric_need_not_be() -> None:
    output = torch.tensor([[1.0, float("inf")], [3.0, 4.0]])
    found = measured_by(distance, output, None, torch.zeros(2, 2), 2)
    assert found.tolist() == [float("inf"), 5.0]


def ends() -> nn.Module:
    sys.exit(3)


class Fails(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 3, 1)

    def forward(self, input: Tensor) -> Tensor:
        raise KeyError("deep")


class Ends(Fails):
    def forward(self, input: Tensor) -> Tensor:
        sys.exit(4)


def test_a_factory_or_a_model_that_ends_the_program_does_not_end_ours(images: Tensor) -> None:
    here = "python:tests.routes.test_metric"
    with pytest.raises(CheckpointError, match=r"ends\(\) raised SystemExit: 3 \(test_metric.py, l"):
        load(f"{here}:ends")
    for name, message in (("Fails", r"KeyError: 'deep' \(test"), ("Ends", r"SystemExit: 4 \(test")):
        model = load(f"{here}:{name}")
        with pytest.raises(DataError, match=rf"takes images of 3 channels \({message}_metric.py"):
            check_fit(model, images, None, f"{here}:{name}", "x.npz")  # type: ignore[arg-type]
        with pytest.raises(ra.UnravelError, match=f"{name} cannot be called with the example"):
            ra.unravel(model, images)  # type: ignore[arg-type]


def test_a_module_that_ends_the_program(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ending.py").write_text("import sys\n\nsys.exit(5)\n")
    monkeypatch.chdir(tmp_path)
    message = "importing ending raised SystemExit: 5 (ending.py, line 3: sys.exit(5))"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load("python:ending:f")


def test_a_module_that_sets_double_for_all(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import torch\ntorch.set_default_dtype(torch.float64)\nmodel = torch.nn.Identity\n"
    (tmp_path / "doubling.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    load("python:doubling:model")
    assert torch.get_default_dtype() is torch.float32


def test_an_error_without_text_or_frames() -> None:
    assert raised(ValueError()) == "ValueError"
    assert raised(ValueError("a\nb")) == "ValueError: a"
