"""Tokens hidden as BERT's training hides them, to be predicted from both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15
"""Of a text's tokens that are to be predicted. Of these, 80 % are masked, 10 % random, 10 % as they were."""
NO_TARGET = -100

Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What hiding needs to know of a tokenizer.

    Attributes
    ----------
    size : number of token ids.
    mask : the id that stands for a hidden token.
    special : ids that are never hidden: the mask itself, beginnings, ends, padding.
    """

    size: int
    mask: int
    special: tuple[int, ...]


def hidden(
    tokens: Tokens, there: Tokens | None, vocabulary: Vocabulary, seed: int
) -> tuple[Tokens, Tokens, NDArray[np.bool_]]:
    """Hide tokens of each text, decided by the seed and the text's number.

    Of k ordinary tokens max(1, round(0.15·k)) are to be predicted. The last place of a text is never one
    of them: the target of place t stands at t + 1, where that of a language model stands too, so that every
    score takes both alike.

    Parameters
    ----------
    tokens : (N, T).
    there : (N, T), 0 where there is padding.

    Returns
    -------
    tokens : (N, T), what the model reads.
    targets : (N, T), the token hidden at the place before; −100 elsewhere.
    usable : (N,), whether a text has a token to hide.

    Source: Devlin et al. 2019, §3.1 and appendix A.1 (masked language model).
    """
    ordinary = ~np.isin(tokens, vocabulary.special)
    if there is not None:
        ordinary &= there == 1
    ordinary[:, -1] = False
    read, targets = tokens.copy(), np.full_like(tokens, NO_TARGET)
    for row, places in enumerate(np.flatnonzero(line) for line in ordinary):
        if not len(places):
            continue
        # From the text's own number: what is drawn for one does not depend on how long the others are.
        draw = np.random.default_rng([seed, row])
        chosen = draw.permutation(places)[: max(1, round(SHARE * len(places)))]
        targets[row, chosen + 1] = tokens[row, chosen]
        how, other = draw.random(len(chosen)), draw.integers(vocabulary.size, size=len(chosen))
        read[row, chosen] = np.where(
            how < 0.8, vocabulary.mask, np.where(how < 0.9, other, tokens[row, chosen])
        )
    return read, targets, np.asarray(ordinary.any(axis=1))
