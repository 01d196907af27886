"""Record: the scores of one set of codes under one protocol, with all that a reader needs to judge them."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fghash.errors import InputError

Score = float | int | None


class SkippedRecord(UserWarning):
    """A file in the store that is no record of a finished run was left out."""


@dataclass(frozen=True)
class Record:
    """One evaluated set of codes.

    ``bits`` is the budget per item, ``trained_bits`` the longest length of the training it comes from;
    ``gallery_codes`` is ``network`` or ``learned``; ``variant`` lists the settings that differ from the
    preset; ``selection`` is ``last`` or ``val``; ``group`` and ``run`` are the ids of
    :mod:`fghash.settings.identity`; ``scores`` is flat, a score that is not defined is ``None``.
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

    def to_json(self) -> str:
        """Readable JSON with sorted keys; a NaN among the scores raises ``ValueError`` (use ``None``)."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that ``text`` holds.

        Raises:
            InputError: it is not JSON, or fields are missing, unknown or of another type.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError(f"record: not JSON ({error})") from None
        _check_fields(values)
        return cls(**values)


def read_record(path: Path) -> Record | None:
    """The record in a file; ``None``, with a :class:`SkippedRecord` warning, if it holds none."""
    try:
        return Record.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        warnings.warn(f"skipped '{path}': {error}", SkippedRecord, stacklevel=2)
        return None


def _check_fields(values: Any) -> None:
    if not isinstance(values, dict):
        raise InputError(f"record: got a {type(values).__name__}, expected an object")
    names = {field.name for field in fields(Record)}
    if values.keys() != names:
        raise InputError(f"record: missing or unknown fields {sorted(values.keys() ^ names)}")
    for field in fields(Record):
        if not _fits(str(field.type), values[field.name]):
            raise InputError(
                f"record: field '{field.name}' got {values[field.name]!r}, expected {field.type}"
            )


def _fits(kind: str, value: Any) -> bool:
    if kind == "str":
        return isinstance(value, str)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, dict) and all(_is_score(score) for score in value.values())


def _is_score(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
