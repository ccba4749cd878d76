"""Perplexity of a language model, from the mean loss of each text."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.routes.batches import Batch, Batches, Block, EvaluationData, joined
from resanalysis.statistics.bootstrap import Interval, ratio_band


def predicted_tokens(data: EvaluationData) -> NDArray[np.int64] | None:
    """How many tokens of each text are predicted, (N,); ``None`` for data that is no text.

    The first token of a text is predicted from nothing, and one that is masked, or follows a masked one, is
    no target.
    """
    labels = data.batch(0, 1)[1]
    if labels is None or labels.ndim != 2 or labels.dtype is torch.bool:
        return None

    def predicted(batch: Batch) -> Block:
        assert batch.labels is not None
        return {"tokens": (batch.labels[:, 1:] != -100).sum(1).numpy()}

    counted = Batches(data, 1024, torch.device("cpu")).each("tokens", predicted)
    return joined(counted)["tokens"]


def perplexity(
    losses: ArrayLike, tokens: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """exp(Σ nᵢ·lossᵢ / Σ nᵢ), the perplexity of the whole corpus, with a bootstrap interval over texts.

    Tokens of one text are correlated, so texts are drawn, with all their tokens. The interval is NaN for a
    single text, and where the loss is not finite.

    Parameters
    ----------
    losses : (N,) the mean loss of each text, nats a token.
    tokens : (N,) nᵢ, the predicted tokens of each text.

    Source: Jelinek et al. 1977 (perplexity); Efron 1979, Field and Welsh 2007 (cluster bootstrap).
    """
    values, sizes = np.asarray(losses, dtype=np.float64), np.asarray(tokens, dtype=np.int64)
    if values.shape != sizes.shape or values.ndim != 1:
        raise ResanalysisError(
            f"a loss and a number of tokens belong to each text, got {values.shape} and {sizes.shape}"
        )
    counted = sizes > 0  # a text with nothing to predict has no loss
    values, sizes = values[counted], sizes[counted]
    if not len(sizes):
        raise ResanalysisError("a perplexity needs at least one predicted token, got none")
    with np.errstate(over="ignore"):
        if len(sizes) < 2 or not np.isfinite(values).all():
            return Interval(float(np.exp(np.average(values, weights=sizes))), np.nan, np.nan)
        # Ends of the mean loss, then exp: it is monotone, and the interval stays above 0.
        found = ratio_band(sizes * values, sizes, level=level, seed=seed).row(0)
        return Interval(*(float(end) for end in np.exp(found)))
