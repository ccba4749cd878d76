"""What is kept of a network's output: per example, enough for paired statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.routes.metric import Metric, measured_by
from resanalysis.routes.whole import Record, WholeMetric
from resanalysis.view.outputs import logits_of

NAMES = ("error", "loss", "agreement", "kl")
ANSWERS = ("prediction", "entropy")
"""What is kept beside them where every answer is: see ``Answers``."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The intact network's logits with what every comparison with them needs.

    Attributes
    ----------
    logits : (N, T, classes) by position.
    normaliser : (N, T), log Σ exp of the logits.
    predicted : (N, T).
    """

    logits: Tensor
    normaliser: Tensor
    predicted: Tensor

    @staticmethod
    def of(intact: Tensor) -> Reference:
        """Of logits as ``scores`` takes them."""
        logits = by_position(intact)
        normaliser = torch.empty(logits.shape[:2], device=logits.device)
        predicted = torch.empty(logits.shape[:2], dtype=torch.long, device=logits.device)
        for some in _pieces(logits):
            values = logits[some].float()
            normaliser[some] = values.logsumexp(-1)
            predicted[some] = values.argmax(-1)
        return Reference(logits, normaliser, predicted)


def scores(logits: Tensor, labels: Tensor | None, intact: Tensor | Reference) -> Tensor:
    """Error, loss, agreement and KL divergence of each example, as rows in that order.

    Parameters
    ----------
    logits : (N, classes), or (N, T, vocabulary) of a language model, whose position t predicts token
        t + 1; its scores are means over positions. Or (N, classes, H, W) of a segmentation; means
        over pixels.
    labels : (N,), or (N, T) token ids with −100 where nothing is to be predicted, or (N, H, W) classes,
        where a number that is no class is left out; ``None`` leaves error and loss undefined (NaN). Or
        booleans (N, classes), where several classes are right: the loss is −log of their probability together.
    intact : the intact network's logits; a ``Reference`` where many outputs are compared with them.

    Returns
    -------
    Tensor (4, N) of float32: ``error`` (0 or 1; a fraction of positions), ``loss`` (cross-entropy,
        nats), ``agreement`` with the intact network's prediction, ``kl`` (intact ‖ this, nats).
        An output that is not finite counts as an error and as no agreement.

    Raises
    ------
    ResanalysisError : if the labels have another shape.
    """
    reference = intact if isinstance(intact, Reference) else Reference.of(intact)
    values = by_position(logits)
    accepted = labels if labels is not None and labels.dtype is torch.bool else None
    targets, kept = aligned_targets(logits, labels if accepted is None else None)
    if accepted is not None and accepted.shape != logits.shape:
        raise ResanalysisError(
            f"the labels are of {accepted.shape[1]} classes, and the model's output is {tuple(logits.shape)}"
        )
    rows = torch.full((len(NAMES), *values.shape[:2]), torch.nan, device=values.device)
    # Piece by piece, since the logits of a language model are many times larger than its streams.
    for some in _pieces(values):
        own, theirs = values[some].float(), reference.logits[some].float()
        # One NaN or infinity makes the sum one, and is found without a tensor of booleans. argmax would take
        # NaN for the largest.
        finite, predicted = own.sum(-1).isfinite(), own.argmax(-1)
        normaliser = own.logsumexp(-1)
        if targets is not None:
            at = targets[some].clamp_min(0)
            # A target that does not count (−100, clamped to 0 above) is scored all the same and left out of the
            # mean.
            rows[0][some] = ((predicted != at) | ~finite).float()
            rows[1][some] = normaliser - own.gather(-1, at[..., None])[..., 0]
        if accepted is not None:
            right = accepted[some[0], None]
            rows[0][some] = (~right.gather(-1, predicted[..., None])[..., 0] | ~finite).float()
            rows[1][some] = normaliser - own.masked_fill(~right, -torch.inf).logsumexp(-1)
        rows[2][some] = ((predicted == reference.predicted[some]) & finite).float()
        # KL = Σ p (log p − log q) = Σ p (a − b) + log Σ eᵇ − log Σ eᵃ, for logits a of the intact network and b
        # of this one. Two log-softmaxes would be two more tensors of the output's size.
        probability = (theirs - reference.normaliser[some][..., None]).exp_()
        divergence = theirs.sub(own).mul_(probability).sum(-1)
        # Of equal outputs rounding leaves a few 1e-8 of either sign, and KL is not negative.
        rows[3][some] = (divergence + normaliser - reference.normaliser[some]).clamp_min(0)
    return torch.stack([_mean(row, kept) for row in rows])


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores outputs of one batch against the intact network's.

    Attributes
    ----------
    output : what the intact network returns.
    intact : its logits, if there are any in it.
    labels, metric : ``None`` where there are none.
    examples : in the batch.
    answers : whether each output's prediction and entropy are kept too.
    """

    output: Any
    intact: Reference | None
    labels: Tensor | None
    metric: Metric | WholeMetric | None
    examples: int
    answers: bool = False

    @staticmethod
    def of(
        output: Any,
        labels: Tensor | None,
        metric: Metric | WholeMetric | None,
        examples: int,
        answers: bool = False,
    ) -> Scorer:
        logits = logits_of(output)
        intact = None if logits is None else Reference.of(logits)
        return Scorer(output, intact, labels, metric, examples, answers)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows."""
        return names_of(self.metric, self.answers)

    def records(self, output: Any, count: int) -> list[Record]:
        """What a metric of the whole data set keeps of the first ``count`` examples; nothing without one."""
        if not isinstance(self.metric, WholeMetric):
            return []
        return self.metric.records(output, self.labels, self.examples)[:count]

    def rows(self, output: Any) -> Tensor:
        """The scores (names, examples) of one output, on the CPU."""
        logits = logits_of(output)
        if logits is None or self.intact is None:
            if self.metric is None:
                raise ResanalysisError(
                    f"the model returns {described(self.output)}, in which there are no logits to "
                    "score; lesion, reorder, rearrange and prune take a score of your own with --metric "
                    "(metric= in Python), and score detections of coco:DIR"
                )
            rows = torch.full((len(NAMES), self.examples), torch.nan)
        else:
            rows = scores(logits, self.labels, self.intact).cpu()
        if self.answers:
            answered = torch.full((len(ANSWERS), self.examples), torch.nan)
            if logits is not None:
                answered = answers_in(logits, self.labels).cpu()
            rows = torch.cat([rows, answered])
        if self.metric is None or isinstance(self.metric, WholeMetric):
            return rows
        if (
            self.metric is margin
        ):  # ours: it changes nothing, and NaN is its answer to an output of NaN
            own = margin(output, self.labels).cpu()
        else:
            own = measured_by(self.metric, output, self.labels, self.output, self.examples)
        return torch.cat([rows, own[None]])


def names_of(metric: Metric | WholeMetric | None, answers: bool) -> tuple[str, ...]:
    """Of the rows of a ``Scorer``."""
    own = () if metric is None or isinstance(metric, WholeMetric) else ("metric",)
    return (*NAMES, *(ANSWERS if answers else ()), *own)


def answers_in(logits: Tensor, labels: Tensor | None) -> Tensor:
    """Prediction and entropy (nats) of each example, as rows (2, N) in that order.

    Of a language model or a segmentation the entropy is the mean over the positions that ``labels`` leave, and
    there is no one prediction (NaN). An output that is not finite predicts −1, and its entropy is NaN.
    """
    several = labels is not None and labels.dtype is torch.bool
    kept = aligned_targets(logits, None if several else labels)[1]
    values = by_position(logits)
    rows = torch.full((len(ANSWERS), *values.shape[:2]), torch.nan, device=values.device)
    for some in _pieces(values):
        own = values[some].float()
        rows[0][some] = torch.where(own.sum(-1).isfinite(), own.argmax(-1), -1).float()
        rows[1][some] = torch.special.entr(own.softmax(-1)).sum(-1)
    if values.shape[1] > 1:
        rows[0] = torch.nan
    return torch.stack([_mean(row, kept) for row in rows])


def described(output: Any) -> str:
    """What a model returned, in words."""
    if isinstance(output, Mapping):
        return f"a dict of {', '.join(str(key) for key in output)}"
    if isinstance(output, Sequence) and len(output):
        return f"a {type(output).__name__} of {len(output)}, first {described(output[0])}"
    return f"a {type(output).__name__}"


def margin(output: Any, labels: Tensor | None, _: Any = None) -> Tensor:
    """The logit of the true class above the largest other, (N,); below 0 where the answer is wrong.

    It takes a ``Metric``'s arguments, so that ``evaluate`` keeps it. Of a language model or a segmentation it
    is the mean over positions, as the other scores are.

    Raises
    ------
    ResanalysisError : without logits of two classes or more, or without labels.
    """
    logits = logits_of(output)
    if logits is None or logits.shape[1 if logits.ndim == 4 else -1] < 2 or labels is None:
        raise ResanalysisError(
            "a margin is the true class's logit above the largest other: it needs labels, and a model "
            "that returns logits of two classes or more"
        )
    values = by_position(logits)
    targets, kept = aligned_targets(logits, labels)
    assert targets is not None  # there are labels
    at = targets.clamp_min(0)[..., None]
    # The largest other is the second where the true class is first. A copy of the logits without it would be as
    # large as they are.
    two = values.float().topk(2, -1)
    other = torch.where(two.indices[..., :1] == at, two.values[..., 1:], two.values[..., :1])
    return _mean((values.gather(-1, at) - other)[..., 0].float(), kept)


def by_position(logits: Tensor) -> Tensor:
    """(N, T, classes): one position an example, a token's prediction of the next, or a pixel."""
    if logits.ndim == 2:
        return logits[:, None]
    return logits.flatten(2).mT if logits.ndim == 4 else logits[:, :-1]


def aligned_targets(logits: Tensor, labels: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """The class at each position (N, T), and which positions count.

    Raises
    ------
    ResanalysisError : if the labels have another shape than the output takes.
    """
    positions = by_position(logits).shape[:2]
    every = torch.ones(positions, dtype=torch.bool, device=logits.device)
    if labels is None:
        return None, every
    if labels.dtype is torch.bool:
        raise ResanalysisError(
            "some examples have several right classes, and this is of the one right class; leave --labels out, "
            "or give it a file with one class an image"
        )
    fitting = logits[:, 0].shape if logits.ndim == 4 else logits.shape[:-1]
    if labels.shape != fitting:
        raise ResanalysisError(
            f"labels of shape {tuple(labels.shape)} do not fit the model's output {tuple(logits.shape)}, "
            f"which takes {tuple(fitting)}; leave the labels out for agreement and KL divergence alone"
        )
    if logits.ndim == 2:
        return labels[:, None], every
    if logits.ndim == 4:
        targets = labels.flatten(1)
        kept = (targets >= 0) & (targets < logits.shape[1])
        return torch.where(kept, targets, 0), kept
    return labels[:, 1:], labels[:, 1:] != -100


def _pieces(values: Tensor) -> Iterator[tuple[slice, slice]]:
    """Examples and positions whose logits stay in a CPU's cache together."""
    most = 2**18 if values.device.type == "cpu" else 2**26
    count, positions, classes = values.shape
    examples = max(1, most // max(1, positions * classes))
    at_once = max(1, most // classes) if examples == 1 else positions
    for first in range(0, count, examples):
        for start in range(0, positions, at_once):
            yield slice(first, first + examples), slice(start, start + at_once)


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    # Not `values * kept`: NaN at a position that does not count would stay NaN.
    return torch.where(kept, values, 0.0).sum(1) / kept.sum(1)
