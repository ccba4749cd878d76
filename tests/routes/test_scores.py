"""Scores against torch's own loss functions, one position at a time, also where they are made in pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resanalysis as ra
from resanalysis.errors import ResanalysisError
from resanalysis.routes.batches import chosen_batch_size
from resanalysis.routes.loss import example_losses
from resanalysis.routes.scores import Reference, margin, scores
from resanalysis.view.outputs import logits_of
from tests.conftest import cifar


def random(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(own: Tensor, theirs: Tensor, target: int) -> list[float]:
    """Error, loss, agreement and KL of one position in double precision."""
    p, q = own.double().softmax(0), theirs.double().softmax(0)
    return [
        float(own.argmax() != target),
        float(F.cross_entropy(own.double()[None], torch.tensor([target]))),
        float(own.argmax() == theirs.argmax()),
        float((q * (q.log() - p.log())).sum()),
    ]


# The last two are more than one piece holds: several examples, and positions of one.
@pytest.mark.parametrize("shape", [(3, 5, 7), (40, 6, 3000), (2, 9, 70_000)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_tokens(shape: tuple[int, int, int], kind: torch.dtype) -> None:
    own, theirs = random(*shape).to(kind), random(*shape, seed=1).to(kind)
    labels = torch.randint(shape[2], shape[:2], generator=torch.Generator().manual_seed(2))
    labels[0, 2] = -100
    found = scores(own, labels, Reference.of(theirs))
    for i in {0, shape[0] - 1}:
        rows = [
            by_hand(own[i, t].float(), theirs[i, t].float(), int(labels[i, t + 1]))
            for t in range(shape[1] - 1)
            if labels[i, t + 1] != -100
        ]
        assert found[:, i] == pytest.approx(torch.tensor(rows).mean(0), rel=1e-4, abs=1e-5)
    assert torch.equal(found, scores(own, labels, theirs))


def test_classes_and_no_labels() -> None:
    own, theirs = random(9, 10), random(9, 10, seed=1)
    labels = torch.arange(9)
    found = scores(own, labels, theirs)
    for i in range(9):
        assert found[:, i] == pytest.approx(torch.tensor(by_hand(own[i], theirs[i], i)), rel=1e-4)
    unlabelled = scores(own, None, theirs)
    assert unlabelled[:2].isnan().all()
    assert torch.equal(unlabelled[2:], found[2:])


def test_the_intact_network_agrees_with_itself_exactly() -> None:
    logits = random(4, 6, 50) * 30
    found = scores(logits, None, logits)
    assert torch.equal(found[2], torch.ones(4))
    assert torch.equal(found[3], torch.zeros(4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_not_finite_is_an_error(bad: float) -> None:
    own = random(2, 5)
    own[0, 3] = bad
    found = scores(own, own.nan_to_num(0).argmax(1), random(2, 5))
    assert found[0].tolist() == [1.0, 0.0]
    assert found[2, 0] == 0


def test_logits_in_what_models_return() -> None:
    x = random(2, 3)
    assert logits_of(x) is x
    assert logits_of({"logits": x, "hidden": x}) is x
    assert logits_of({"aux": random(2, 3), "out": x}) is x
    assert logits_of((x, torch.tensor([1, 2]))) is x  # whole numbers are no logits
    assert logits_of([{"boxes": x, "scores": x[0]}]) is None
    assert logits_of((x,)) is x


def test_a_large_output_makes_batches_smaller() -> None:
    network = ra.unravel(cifar(8), torch.randn(2, 3, 16, 16))
    assert network.outputs == 5
    large = replace(network, outputs=10**6)
    assert chosen_batch_size(large, 1000, memory=2**27) == 8
    assert chosen_batch_size(network, 1000, memory=2**27) > 64


@pytest.mark.parametrize(
    ("own", "labels"), [((4, 3, 5, 5), (4,)), ((4, 3), (4, 5, 5)), ((4, 6, 9), (4,))]
)
def test_labels_of_another_task(own: tuple[int, ...], labels: tuple[int, ...]) -> None:
    message = "do not fit the model's output .* leave the labels out"
    with pytest.raises(ValueError, match=message):
        scores(random(*own), torch.zeros(labels, dtype=torch.long), random(*own))


def margin_by_hand(logits: Tensor, target: int) -> float:
    values = logits.double().tolist()
    return values[target] - max(value for k, value in enumerate(values) if k != target)


def test_margin_of_classes_tokens_and_pixels() -> None:
    images, labels = random(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    images[3] = torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0])  # a tie has no margin
    expected = [margin_by_hand(row, int(y)) for row, y in zip(images, labels, strict=True)]
    assert expected[3] == 0
    assert margin(images, labels, images).tolist() == pytest.approx(expected)
    assert margin({"logits": images}, labels).tolist() == pytest.approx(expected)

    tokens, ids = random(2, 4, 5), torch.tensor([[1, 2, 3, 4], [0, -100, 1, -100]])
    expected = [
        sum(margin_by_hand(tokens[0, t], int(ids[0, t + 1])) for t in range(3)) / 3,
        margin_by_hand(tokens[1, 1], 1),
    ]
    assert margin(tokens, ids).tolist() == pytest.approx(expected)

    pixels, classes = random(2, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]], [[1, 1], [0, 2]]])
    expected = [
        sum(
            margin_by_hand(pixels[n, :, i, j], int(classes[n, i, j]))
            for i in range(2)
            for j in range(2)
            if classes[n, i, j] < 3
        )
        / int((classes[n] < 3).sum())
        for n in range(2)
    ]
    assert margin(pixels, classes).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(3, 4), None),
        ("no tensor", torch.zeros(3, dtype=torch.long)),
    ],
)
def test_a_margin_needs_labels_and_two_classes(output: object, labels: Tensor | None) -> None:
    with pytest.raises(ra.ResanalysisError, match="it needs labels, and a model that returns"):
        margin(output, labels)


def test_several_right_classes() -> None:
    """Right if any is given; the loss is −log of their probability together (ReaL labels)."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 5, generator=generator)
    accepted = torch.rand(7, 5, generator=generator) < 0.4
    accepted[:, 0] |= ~accepted.any(1)
    error, loss, *_ = scores(logits, accepted, logits)
    for row in range(7):
        right = accepted[row].nonzero()[:, 0].tolist()
        assert error[row] == float(int(logits[row].argmax()) not in right)
        together = sum(float(logits[row].double().softmax(0)[c]) for c in right)
        assert loss[row].item() == pytest.approx(-math.log(together), abs=1e-5)
        assert example_losses(logits, accepted)[row].item() == pytest.approx(
            -math.log(together), abs=1e-12
        )
    one = torch.eye(5, dtype=torch.bool)[torch.arange(7) % 5]
    torch.testing.assert_close(
        scores(logits, one, logits), scores(logits, torch.arange(7) % 5, logits)
    )
    with pytest.raises(
        ResanalysisError, match=r"the labels are of 5 classes, and the model's outp"
    ):
        scores(logits[:, :4], accepted, logits[:, :4])
    with pytest.raises(ResanalysisError, match=r"some examples have several right classes"):
        margin(logits, accepted)
