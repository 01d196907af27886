"""Text of any origin, made safe to show: names of files and classes, and what a store holds."""

from __future__ import annotations


def harmless(text: str) -> str:
    r"""``text`` with escapes for all that moves a cursor, breaks a line, reverses text or cannot be encoded.

    >>> harmless("caf\u00e9 \x1b[2J\n \ud800")
    'café \\x1b[2J\\n \\ud800'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
