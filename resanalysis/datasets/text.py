"""Plain text, cut into token ids by the model's own tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.images import ArraySource, Dataset
from resanalysis.datasets.masked import SHARE, Tokens, Vocabulary, hidden
from resanalysis.errors import reason

LENGTH = 128
"""Tokens of a block where nothing is said and the model takes that many."""

Predicted = Literal["next", "masked", "none"]
"""What of a text is predicted: each token from those before it, hidden ones from both sides, nothing."""

_OPTIONS = ("length", "by", "tokenizer", "labels", "seed")


def text_dataset(
    place: str,
    *,
    tokenizer: str | Path | None = None,
    positions: int | None = None,
    labels: Predicted | None = None,
) -> Dataset:
    """Token ids of a text, as examples for a language model or an encoder.

    Parameters
    ----------
    place : ``FILE``, UTF-8, with options after it: ``FILE?length=N&by=line&tokenizer=DIR``. By default the
        whole text is tokenised once and cut into blocks of ``length`` tokens that do not overlap; what
        fills no block is left out. With ``by=line`` each line that is not empty is an example, cut to
        ``length`` and padded on the right; a line of one token leaves nothing to predict and is left out.
        With ``labels=none`` nothing is predicted, as by an encoder: there are no labels, and such lines stay.
        With ``labels=masked`` 15 % of the tokens are hidden and predicted, decided by ``seed=N``.
    tokenizer : folder of the model's tokenizer, where ``place`` names none.
    positions : the longest sequence the model takes; what the tokenizer's folder says if left out.

    Returns
    -------
    Dataset : token ids (N, T) and, of lines, their attention mask (N, T); ``subset`` says what was cut and
        left out.

    Raises
    ------
    DataError : if the text, the tokenizer or the options cannot be used.
    """
    wanted = _Wanted.read(place, labels or "next")
    folder = wanted.tokenizer or tokenizer
    if folder is None:
        raise DataError(
            f"{wanted.name}: nothing says how to cut it into tokens; name the folder of the model's "
            f"tokenizer, {wanted.name}?tokenizer=DIR (a model hf:DIR brings its own), or save token ids "
            "for tokens:FILE.npz"
        )
    content = _content(wanted.path, wanted.name)
    cutter = load_tokenizer(Path(folder), wanted.name)
    most = _positions(Path(folder)) if positions is None else positions
    # A tokenizer that knows no longest text says 1e30.
    length = wanted.length or min(LENGTH, most or LENGTH, int(cutter.model_max_length))
    if most is not None and length > most:
        raise DataError(
            f"{wanted.name}: length={length}, and the model takes no more than {most} tokens; write "
            f"?length={most} or less"
        )
    if wanted.by == "line":
        tokens, mask, subset = _by_line(cutter, content, length, wanted)
    else:
        tokens, subset = _blocks(cutter, content, length, wanted.name)
        mask = None
    targets = None
    if wanted.labels == "masked":
        tokens, mask, targets, said = _hidden(cutter, tokens, mask, wanted)
        subset = f"{subset}, {said}"
    return Dataset(
        name=f"text:{place}",
        source=ArraySource(tokens),
        labels=None,
        indices=np.arange(len(tokens)),
        subset=subset,
        mask=mask,
        scored=wanted.labels == "next",
        targets=targets,
    )


def check_vocabulary(data: Dataset, vocabulary: int, model: str) -> None:
    """Refuse token ids that the model has no embedding for; data of another kind passes.

    Raises
    ------
    DataError : naming the highest id and the size of the model's vocabulary.
    """
    if data.mean is not None:
        return
    highest = int(np.asarray(data.source.read(data.indices), dtype=np.int64).max())
    if highest >= vocabulary:
        raise DataError(
            f"{data.name}: its token ids run up to {highest}, and {model} knows {vocabulary}, 0 to "
            f"{vocabulary - 1}; use the model's own tokenizer"
        )


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer that ``save_pretrained`` wrote to a folder; no code of the folder is run.

    Raises
    ------
    DataError : if transformers is not installed, or there is no tokenizer.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError(
            f"{name}: transformers, which reads tokenizers, is not installed ({error}): pip install "
            '"resanalysis[transformers]"'
        ) from None
    if not folder.is_dir():
        raise DataError(f"{name}: there is no folder {folder} to read a tokenizer from")
    advice = (
        "write it there with tokenizer.save_pretrained, or name another folder with ?tokenizer=DIR"
    )
    try:
        found = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise DataError(
            f"{name}: {folder} holds no tokenizer that can be read ({type(error).__name__}: "
            f"{lines[0][:160]}); {advice}"
        ) from None
    # Where the files are missing, transformers makes a tokenizer that knows no word.
    if len(found) <= len(set(found.all_special_ids)):
        raise DataError(
            f"{name}: {folder} holds no tokenizer: neither tokenizer.json nor another vocabulary; "
            f"{advice}"
        )
    return found


@dataclass(frozen=True)
class _Wanted:
    """A text and its options."""

    path: Path
    length: int | None = None
    by: str = "block"
    tokenizer: str | None = None
    labels: str = "next"
    seed: int = 0

    @property
    def name(self) -> str:
        return f"text:{self.path}"

    @staticmethod
    def read(place: str, labels: Predicted) -> _Wanted:
        if "?" not in place or Path(place).is_file():  # a name may hold a question mark
            return _Wanted(Path(place), labels=labels)
        file, _, query = place.rpartition("?")
        name = f"text:{place}"
        options = _options(query, name)
        return _Wanted(
            Path(file),
            _length(options["length"], name) if "length" in options else None,
            _one_of(options, "by", ("block", "line"), name),
            options.get("tokenizer"),
            _one_of({"labels": labels} | options, "labels", ("next", "masked", "none"), name),
            _seed(options, name),
        )


def _options(query: str, name: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&"):
        key, sign, value = part.partition("=")
        if key not in _OPTIONS or not sign or not value:
            raise DataError(
                f"{name}: {part!r} is no option; there are length=N, by=line (or by=block), labels=none or "
                "labels=masked with seed=N, and tokenizer=DIR, with & between them"
            )
        if key in options:
            raise DataError(f"{name}: {key} is given twice; give it once")
        options[key] = value
    return options


def _one_of(options: dict[str, str], key: str, choices: tuple[str, ...], name: str) -> str:
    """The value of an option; the first choice where it is not given."""
    value = options.get(key, choices[0])
    if value not in choices:
        known = " or ".join(f"{key}={choice}" for choice in choices)
        raise DataError(f"{name}: {key}={value} is not known; write {known}")
    return value


def _seed(options: dict[str, str], name: str) -> int:
    number = options.get("seed", "0")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise DataError(f"{name}: seed={number} is no seed; it takes a whole number from 0")
    if "seed" in options and options.get("labels") != "masked":
        raise DataError(f"{name}: seed={number} decides what labels=masked hides; write that too")
    return int(number)


def _length(number: str, name: str) -> int:
    length = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
    if length < 2:
        raise DataError(
            f"{name}: length={number} is no number of tokens; it takes 2 or more, as each "
            "token is predicted from those before it"
        )
    return length


def _content(path: Path, name: str) -> str:
    if path.is_dir():
        raise DataError(f"{name}: {path} is a folder; name one file of text")
    if not path.is_file():
        raise DataError(f"{name}: there is no file {path}")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; save the text "
            "as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{name}: {path} cannot be read: {reason(error)}") from None
    if not content.strip():
        raise DataError(f"{name} is empty: there is no text in {path}")
    return content


def _positions(folder: Path) -> int | None:
    """The longest sequence that the model beside a tokenizer takes, if there is one that says it."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return None
    try:
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception:  # a model that transformers does not know; its tokenizer is enough
        return None
    return longest(config)


def longest(config: Any) -> int | None:
    """The longest sequence of a model of transformers, in tokens, if its configuration says it."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def _blocks(tokenizer: Any, content: str, length: int, name: str) -> tuple[NDArray[np.int64], str]:
    # Quiet: the tokenizer would warn of a text longer than the model takes, and it is cut right below.
    ids = np.asarray(tokenizer(content, verbose=False)["input_ids"], dtype=np.int64)
    count, rest = divmod(len(ids), length)
    if count == 0:
        fewer = f"write ?length={len(ids)} or less, or give it a longer text"
        raise DataError(
            f"{name}: {_counted(len(ids), 'token')}, fewer than one block of {length}; "
            f"{fewer if len(ids) > 1 else 'give it a longer text'}"
        )
    left = f", the last {_counted(rest, 'token').removeprefix('1 ')} left out" if rest else ""
    subset = f"{_counted(count, 'block')} of {length} tokens{left}"
    return ids[: count * length].reshape(count, length), subset


def _by_line(
    tokenizer: Any, content: str, length: int, wanted: _Wanted
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    # Not `splitlines`, which also parts a text at form feeds and at separators of Unicode's.
    lines = [line for line in content.split("\n") if line.strip()]
    found, long = _tokens_of_lines(tokenizer, lines, length)
    fewest = 2 if wanted.labels == "next" else 1
    kept = [ids for ids in found if len(ids) >= fewest]
    if not kept:
        raise DataError(
            f"{wanted.name}: none of its {_counted(len(lines), 'line')} has two tokens, so there is "
            "nothing to predict; leave out ?by=line, or give it longer lines"
        )
    sizes = np.array([len(ids) for ids in kept])
    mask = (np.arange(sizes.max()) < sizes[:, None]).astype(np.int64)
    tokens = np.full(mask.shape, _padding(tokenizer), dtype=np.int64)
    tokens[mask == 1] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in kept])
    short = len(found) - len(kept)
    parts = [_counted(len(kept), "line")]
    if long:
        parts.append(f"{long} cut to {length} tokens")
    if short:
        parts.append(f"{short} of fewer than two tokens left out")
    return tokens, mask, ", ".join(parts)


def _tokens_of_lines(tokenizer: Any, lines: list[str], length: int) -> tuple[list[list[int]], int]:
    """The tokens of each line, and how many lines were cut to ``length``."""
    found: list[list[int]] = tokenizer(lines, verbose=False)["input_ids"]
    long = [number for number, ids in enumerate(found) if len(ids) > length]
    if long:
        # Only the tokenizer knows which of its special tokens a line that is cut must end in.
        tokenizer.truncation_side = "right"
        cut = tokenizer([lines[n] for n in long], truncation=True, max_length=length)["input_ids"]
        for number, ids in zip(long, cut, strict=True):
            found[number] = ids
    return found, len(long)


def _hidden(
    tokenizer: Any, tokens: Tokens, mask: Tokens | None, wanted: _Wanted
) -> tuple[Tokens, Tokens | None, Tokens, str]:
    """What is read of texts with hidden tokens, their masks and targets, and what was done in words."""
    if tokenizer.mask_token_id is None:
        raise DataError(
            f"{wanted.name}: its tokenizer has no mask token, so nothing can be hidden; write labels=next or "
            "labels=none"
        )
    special = tuple(int(number) for number in tokenizer.all_special_ids)
    vocabulary = Vocabulary(len(tokenizer), int(tokenizer.mask_token_id), special)
    read, targets, usable = hidden(tokens, mask, vocabulary, wanted.seed)
    if not usable.any():
        raise DataError(
            f"{wanted.name}: none of its {_counted(len(tokens), 'example')} has an ordinary token to hide; "
            "use the model's own tokenizer, or give it other text"
        )
    said = f"{100 * SHARE:.0f} % of the tokens hidden, seed {wanted.seed}"
    left = int((~usable).sum())
    said += f", {left} without a token to hide left out" if left else ""
    return read[usable], None if mask is None else mask[usable], targets[usable], said


def _padding(tokenizer: Any) -> int:
    for number in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if number is not None:
            return int(number)
    return 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
