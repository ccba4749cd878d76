"""Damage to bytes: the same for checkpoints and data, decided by a seed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]


def flipped(content: bytes, random: Random) -> bytes:
    """One to eight bits are other ones."""
    found = bytearray(content)
    for _ in range(random.randint(1, 8)):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def at_the_ends(content: bytes, random: Random) -> bytes:
    """A byte of the first or last 200, where headers and directories are, is any byte."""
    found = bytearray(content)
    place = random.randrange(min(200, len(found)))
    found[place if random.random() < 0.5 else -1 - place] = random.randrange(256)
    return bytes(found)


def truncated(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def zeroed(content: bytes, random: Random) -> bytes:
    """A span of up to 2,000 bytes is zero, as after a failed copy."""
    start = random.randrange(len(content))
    size = min(random.randint(1, 2000), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def repeated(content: bytes, random: Random) -> bytes:
    start, stop = sorted(random.randrange(len(content)) for _ in range(2))
    return content[:stop] + content[start:stop] + content[stop:]


def inserted(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + random.randbytes(random.randint(1, 64)) + content[place:]


def noise(content: bytes, random: Random) -> bytes:
    """Nothing is left but the first bytes, by which formats are known."""
    return content[: random.choice((0, 2, 4, 16))] + random.randbytes(random.randint(1, 5000))


BYTES: tuple[Mutation, ...] = (flipped, at_the_ends, truncated, zeroed, repeated, inserted, noise)


def rezipped(content: bytes, random: Random) -> bytes:
    """One entry of a zip archive is damaged, and its checksum is right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        entries = [entry for entry in old.infolist() if entry.file_size]
        chosen = random.choice(entries)
        damage = random.choice((flipped, at_the_ends, truncated, zeroed, repeated, inserted))
        for entry in entries:
            data = old.read(entry)
            new.writestr(entry.filename, damage(data, random) if entry is chosen else data)
    return buffer.getvalue()


def deflated(content: bytes, random: Random) -> bytes:
    """Some entries of a zip archive are compressed, one of them of many zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        entries = old.infolist()
        chosen = random.choice(entries)
        for entry in entries:
            data = bytes(50_000_000) if entry is chosen else old.read(entry)
            method = zipfile.ZIP_DEFLATED if entry is chosen else zipfile.ZIP_STORED
            new.writestr(entry.filename, data, method)
    return buffer.getvalue()
