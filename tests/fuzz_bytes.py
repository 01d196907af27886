"""Bytes that something went wrong with."""

from __future__ import annotations

import random

DEEP = "[" * 3000 + "]" * 3000
INSERTED = [b"", b"\0", b"\xff\xfe", b"\n", b'"', b"{", DEEP.encode(), b"9" * 5000]


def absurd_bytes(draw: random.Random, content: bytes) -> bytes:
    """Bytes changed, cut off, inserted or repeated."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    inserted = draw.choice([*INSERTED, draw.randbytes(9)])
    return draw.choice(
        [
            content[:start],
            content[:start] + inserted + content[start:],
            content[:start] + inserted + content[end:],
            content[:end] + content[start:],
            inserted,
        ]
    )
