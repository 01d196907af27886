"""Record: the scores of one set of codes under one protocol, with all that a reader needs to judge them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.store.parsing import parse_json, read_json

Score = float | int | None

SCHEMA = 3  # 1, without a number, knew neither preset nor budget; 2 no tuning trials
BUDGET = ("epochs", "image_passes", "batch_size", "train_seconds", "stopped_by_time")
DATA_COUNTS = ("queries_in_gallery", "truncated_images")

_LIMIT = 2**63  # of numbers: what a column of integers holds
_SCORE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,99}")


class SkippedRecord(UserWarning):
    """A file in the store that is not a record of a finished run was left out."""


@dataclass(frozen=True)
class Record:
    """One evaluated set of codes. ``None`` is unknown: records of earlier versions do not hold all fields.

    Args:
        data: name of the data set.
        method: name of the method.
        bits: budget per item.
        trained_bits: the longest code length of the training that the codes come from.
        backbone: name of the network.
        gallery_codes: ``network`` or ``learned``.
        seed: of the training.
        variant: the settings that differ from the preset, as seen when the run was made.
        selection: ``last`` or ``val``, the epoch that was scored.
        protocol: name and cutoffs of the protocol.
        data_fingerprint: counts and hash of the split.
        data_description: the same in words.
        group: id of the runs that differ in nothing but the seed (:mod:`fghash.settings.identity`).
        run: id of the run.
        notes: what a reader of the method's numbers must know.
        scores: flat, by name; a score that is not defined is ``None``.
        preset: name of the preset.
        trials: that a tuned preset was chosen from.
        epochs: completed epochs of training.
        image_passes: training images that went through the network, repeated ones counted again.
        batch_size: images in a batch, of all processes together.
        train_seconds: duration of the training.
        stopped_by_time: whether ``--trainer.max_time`` ended the training before its last epoch.
        queries_in_gallery: query images whose content is in the gallery too.
        truncated_images: incomplete image files that were read as far as they go.
    """

    data: str
    method: str
    bits: int
    trained_bits: int
    backbone: str
    gallery_codes: str
    seed: int
    variant: str
    selection: str
    protocol: str
    data_fingerprint: str
    data_description: str
    group: str
    run: str
    notes: str
    scores: Mapping[str, Score]
    preset: str = ""
    epochs: int | None = None
    image_passes: int | None = None
    batch_size: int | None = None
    train_seconds: float | None = None
    stopped_by_time: bool | None = None
    queries_in_gallery: int | None = None
    truncated_images: int | None = None
    trials: int | None = None

    def to_json(self) -> str:
        """Readable JSON with sorted keys; a NaN among the scores raises ``ValueError`` (use ``None``)."""
        values = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """The record that ``text`` holds, of this version or an earlier one.

        Raises:
            InputError: it is not JSON, or as :meth:`from_values`.
        """
        return cls.from_values(parse_json(text))

    @classmethod
    def from_values(cls, values: Any) -> Record:
        """The record of these fields, whose ``schema`` is missing in the first version.

        Raises:
            InputError: a later version, fields missing, unknown or of another type, or a number out of range.
        """
        if not isinstance(values, dict):
            raise InputError(f"a {type(values).__name__}, expected an object")
        schema = values.get("schema", 1)
        if schema not in range(1, SCHEMA + 1) or isinstance(schema, bool):
            raise InputError(f"schema: {_short(schema)}, expected 1 to {SCHEMA} (a later version of fghash?)")
        values = {name: value for name, value in values.items() if name != "schema"}
        _check_fields(values)
        return cls(**values)


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        InputError: it holds none.
    """
    return Record.from_values(read_json(path))


def _check_fields(values: Mapping[str, Any]) -> None:
    if not _REQUIRED <= values.keys() <= _KINDS.keys():
        wrong = sorted((_REQUIRED - values.keys()) | (values.keys() - _KINDS.keys()))
        raise InputError(f"missing or unknown fields {_short(wrong)}")
    for name, value in values.items():
        fits, expected = _KINDS[name]
        if not fits(value):
            got = _wrong_score(value) if name == "scores" else _short(value)
            raise InputError(f"field '{name}' got {got}, expected {expected}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float or kind is int) and -_LIMIT < value < _LIMIT  # false for NaN too


def _is_integer(value: Any) -> bool:
    return type(value) is int and -_LIMIT < value < _LIMIT


def _are_scores(value: Any) -> bool:
    return type(value) is dict and all(_is_score(name, score) for name, score in value.items())


def _is_score(name: str, value: Any) -> bool:
    fits = _is_integer if name.startswith("n_") else _is_number
    return (value is None or fits(value)) and _is_score_name(name)


@lru_cache(maxsize=4096)
def _is_score_name(name: str) -> bool:
    return name not in _RESERVED and _SCORE_NAME.fullmatch(name) is not None


def _wrong_score(value: Any) -> str:
    scores = value.items() if isinstance(value, dict) else [("not an object", value)]
    return next(f"{_short(name)}: {_short(score)}" for name, score in scores if not _is_score(name, score))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_OF_TYPE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (_is_text, "text"),
    "int": (_is_integer, "an integer below 2^63"),
    "int | None": (_or_null(_is_integer), "an integer below 2^63 or null"),
    "float | None": (_or_null(_is_number), "a finite number below 2^63 or null"),
    "bool | None": (_or_null(lambda value: type(value) is bool), "true, false or null"),
    "Mapping[str, Score]": (
        _are_scores,
        "scores by name, each a finite number below 2^63 (n_*: an integer) or null",
    ),
}
_KINDS = {field.name: _OF_TYPE[str(field.type)] for field in fields(Record)}
_REQUIRED = {field.name for field in fields(Record) if field.default is MISSING}
_RESERVED = {*_KINDS, "seeds", "map_std", "map_real_std", "map_within_family_std"} - {"bits", "protocol"}
