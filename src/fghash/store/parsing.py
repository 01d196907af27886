"""Small files of the store, read with limits: what is in them may be damaged or of another origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from fghash.errors import InputError

MAX_BYTES = 4_000_000  # a record or a marker holds a few thousand; more is not one


def read_json(path: Path, limit: int | None = MAX_BYTES) -> Any:
    """The JSON value in a file of at most ``limit`` bytes.

    Raises:
        InputError: as :func:`read_file` and :func:`parse_json`.
    """
    return parse_json(read_file(path, limit))


def read_file(path: Path, limit: int | None = MAX_BYTES) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    Raises:
        InputError: not a regular file, not readable, or larger than ``limit``.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for its writer
            raise FileNotFoundError(2, "no such file")
        with path.open("rb") as file:
            content = file.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # a null byte or a surrogate in the name
        raise InputError(f"cannot be read ({error})") from None
    if limit is not None and len(content) > limit:
        raise InputError(f"larger than {limit:,} bytes")
    return content


def parse_json(content: str | bytes) -> Any:
    """The JSON value that ``content`` holds.

    Raises:
        InputError: not UTF-8, not JSON, NaN or an infinity, a number too long to read, or nested too deeply.
    """
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise InputError("not JSON (nested too deeply)") from None
    except ValueError as error:
        raise InputError(f"not JSON ({error})") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"the value {name}")
