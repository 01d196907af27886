"""What the readers of official folders share: files that must be there, lists that must make sense."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fghash.data import entries
from fghash.data.items import Items, Official, Splits
from fghash.display import harmless
from fghash.errors import InputError


def existing_root(root: str | Path | None, *needed: str) -> Path:
    """``root`` as a path, with every one of ``needed`` (files or folders) in it.

    Raises:
        InputError: no root given, no such folder, or something needed is missing.
    """
    if root is None:
        raise InputError("--data.root: this data set needs the folder it was unpacked to, got none")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"--data.root: no such folder {folder}")
    for name in needed:
        if not (folder / name).exists():
            raise InputError(f"--data.root: {folder} has no {name}, which this data set's layout has")
    return folder


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, with their numbers from 1.

    Raises:
        InputError: missing, or not text.
    """
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with a byte order mark as spreadsheets write it.

    Raises:
        InputError: missing, or not text.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read list {harmless(str(path))}: {reason}") from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if is_utf16 else "UTF-8"
        raise InputError(f"cannot read list {harmless(str(path))}: it is not text in {kind}") from error


def keyed_lines(path: Path) -> dict[str, str]:
    """A list of ``key value`` lines.

    Raises:
        InputError: a line without a value, or a key twice.
    """
    values: dict[str, str] = {}
    for number, line in numbered_lines(path):
        key, _, value = line.partition(" ")
        if not value.strip():
            raise InputError(f"{path} line {number}: expected two columns, got {line!r}")
        if key in values:
            raise InputError(f"{path} line {number}: id {key} twice")
        values[key] = value.strip()
    return values


def column(path: Path, keys: Iterable[str], low: int, high: int | None) -> dict[str, int]:
    """The whole number in [low, high] that a list of ``key value`` lines gives for each of ``keys``.

    Raises:
        InputError: a key is missing or twice, a value is out of range.
    """
    values = keyed_lines(path)
    for key in keys:
        if key not in values:
            raise InputError(f"{path}: id {key} of images.txt is missing")
    return {key: whole_number(values[key], f"{path} id {key}", low, high) for key in keys}


def read_mat(path: Path, *keys: str) -> tuple[NDArray[Any], ...]:
    """Variables of a MATLAB file as lists: without dimensions of one, a single value as an array of one.

    Raises:
        InputError: no such file, no MATLAB file, or a variable is missing or is no list.
    """
    from scipy.io import loadmat  # half a second, and only some data sets need it

    try:
        variables = loadmat(path, squeeze_me=True)
        found = tuple(np.atleast_1d(variables[key]) for key in keys)
    except FileNotFoundError:
        raise InputError(f"cannot read list {path}: no such file") from None
    except KeyError as error:
        raise InputError(f"cannot read list {path}: it has no variable {error}") from None
    except Exception as error:
        raise InputError(
            f"cannot read list {path}: no MATLAB file ({' '.join(str(error).split())})"
        ) from error
    for key, values in zip(keys, found, strict=True):
        if values.ndim > 1:
            raise InputError(f"cannot read list {path}: {key} is a table of shape {values.shape}, no list")
    return found


def number_text(value: Any) -> str:
    """A number of a MATLAB file as text; its doubles are whole numbers, too: 3.0 is 3."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def first_folder(root: str | Path | None, *inner: str) -> Path:
    """The first of the sub-folders ``inner`` that exists, or ``root``: archives unpack into a folder."""
    folder = existing_root(root)
    return next((folder / name for name in inner if (folder / name).is_dir()), folder)


def whole_number(text: str, where: str, low: int, high: int | None = None) -> int:
    """``text`` as an integer in [low, high].

    Raises:
        InputError: it is not one; the message begins with ``where``.
    """
    allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
    try:
        value = int(text)
    except ValueError:
        raise InputError(f"{where}: expected a whole number {allowed}, got {text!r}") from None
    if value < low or (high is not None and value > high):
        raise InputError(f"{where}: expected a whole number {allowed}, got {value}")
    return value


def check_files(root: Path, names: Sequence[str], listed_in: str) -> None:
    """Every listed file exists under exactly that name, and none is listed twice.

    Raises:
        InputError: naming the first that does not, the nearest that does, and the list.
    """
    for name, there in zip(names, found_files(root, names, listed_in), strict=True):
        if name != there:
            raise InputError(f"{harmless(listed_in)}: names {entries.missing(root, name)}")


def found_files(root: Path, names: Sequence[str], listed_in: str) -> list[str]:
    """The names under which listed files exist, as :func:`fghash.data.entries.find` finds them.

    Raises:
        InputError: naming the first that does not, the nearest that does, and the list; or one listed twice.
    """
    found, seen = [], set[str]()
    for name in names:
        if name in seen:
            raise InputError(harmless(f"{listed_in}: {name} twice"))
        there = entries.find(root, name)
        if there is None:
            raise InputError(f"{harmless(listed_in)}: names {entries.missing(root, name)}")
        seen.add(name)
        found.append(there)
    return found


def class_splits(
    root: Path,
    listed: Mapping[str, Sequence[tuple[str, Any]]],
    class_names: Mapping[Any, str],
    official: Official | None = None,
) -> Splits:
    """Splits from ``(path, class)`` lists of ``train``, ``query`` and, where it differs from train,
    ``gallery``.

    Classes without any image are left out (a subset of the folder) and the others numbered in sorted order.

    Raises:
        InputError: a split without images, more classes or images than the published data set has.
    """
    for split, part in listed.items():
        if not part:
            raise InputError(f"--data.root: {root} lists no images of split {split}")
    present = sorted({label for split in listed.values() for _, label in split})
    number = {label: position for position, label in enumerate(present)}

    def items(split: str) -> Items:
        labels = np.array([number[label] for _, label in listed[split]], np.int64)
        return Items.from_files(root, [name for name, _ in listed[split]], labels)

    if official is not None:
        _refuse_surplus(
            root, official, {"classes": len(present)} | {split: len(listed[split]) for split in listed}
        )
    train = items("train")
    gallery = items("gallery") if "gallery" in listed else train
    names = tuple(class_names[label] for label in present)
    return Splits(train, gallery, items("query"), names, official)


def _refuse_surplus(root: Path, official: Official, found: Mapping[str, int]) -> None:
    for what in ("classes", "train", "query"):
        allowed = getattr(official, what)
        if found[what] > allowed:
            raise InputError(
                f"--data.root: {root} has {found[what]:,} {what}, the published data set {allowed:,}"
            )
