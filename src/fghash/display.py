"""Text of any origin, made safe to show: names of files and classes, and what a store holds."""

from __future__ import annotations


def harmless(text: str) -> str:
    r"""``text`` without what moves a cursor, breaks a line, reverses the order of letters or is no letter.

    >>> harmless("caf\u00e9 \x1b[2J\n \ud800")
    'café \\x1b[2J\\n \\ud800'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
