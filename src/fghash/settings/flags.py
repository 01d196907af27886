"""The flags of ``fghash fit``, as nested raw text: only which word belongs to which flag is decided here."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fghash.errors import InputError

NAMED = (
    "method",
    "data",
    "backbone",
    "optim",
    "tracking",
)  # chosen by name; settings lie below the same word
SECTIONS = (*NAMED, "trainer")
SINGLE = (
    "bits", "batch_size", "seed", "gpus", "cpus", "runs", "preset", "cutoffs", "store_embeddings",
    "checkpoint_minutes", "on_nan", "score_at", "force",
)  # fmt: skip

_SWITCHES = {"--force": "force", "--print_config": "print_config", "--help": "help", "-h": "help"}
_MANY = ("--cutoffs", "--on_nan")  # the flags that take several words


@dataclass
class Flags:
    """``values`` is nested like a config file, with raw text as values."""

    values: dict[str, Any] = field(default_factory=dict)
    configs: list[Path] = field(default_factory=list)
    print_config: bool = False
    help: bool = False


def read_flags(argv: Sequence[str]) -> Flags:
    """Read ``--key value``, ``--key=value`` and the switches, in any order; the last of equal flags counts.

    Raises:
        InputError: a word that belongs to no flag, or a flag without its value.
    """
    flags, words = Flags(), deque(argv)
    while words:
        word, given, text = words.popleft().partition("=")
        if word in _SWITCHES:
            _switch(flags, word, text if given else "true")
        elif not word.startswith("--") or len(word) == 2:
            raise InputError(f"unexpected '{word}{given}{text}': settings are given as --name value")
        elif word in _MANY:
            flags.values[word[2:]] = text if given else _several(word, words)
        elif word == "--config":
            flags.configs.append(Path(text if given else _value(word, words)))
        else:
            _put(flags.values, word, text if given else _value(word, words))
    return flags


def _switch(flags: Flags, word: str, text: str) -> None:
    if text not in ("true", "false"):
        raise InputError(f"{word}: takes no value, or true or false, got '{text}'")
    if _SWITCHES[word] == "force":
        flags.values["force"] = text
    else:
        setattr(flags, _SWITCHES[word], text == "true")


def _value(word: str, words: deque[str]) -> str:
    if not words or words[0].startswith("--"):
        raise InputError(f"{word}: a value is missing")
    return words.popleft()


def _several(word: str, words: deque[str]) -> list[str]:
    found = [_value(word, words)]
    while words and not words[0].startswith("-"):
        found.append(words.popleft())
    return found


def _put(values: dict[str, Any], word: str, text: str) -> None:
    """Store at the dotted path of ``word``; the bare word of a section means the name in it."""
    *branches, leaf = word[2:].split(".")
    if not branches and leaf in NAMED:
        branches, leaf = [leaf], "name"
    for branch in branches:
        values = values.setdefault(branch, {})
        if not isinstance(values, dict):
            raise InputError(f"{word}: '{branch}' is given as one value already")
    values[leaf] = text
