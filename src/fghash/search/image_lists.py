"""Which images: files, folders, patterns, lists in CSV, and shards in tar (as WebDataset writes them)."""

from __future__ import annotations

import csv
import glob
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fghash.data.entries import missing
from fghash.data.images.decoding import suffixes
from fghash.display import harmless
from fghash.errors import InputError
from fghash.registry import nearest

PATH_COLUMNS = ("path", "image", "file", "filename", "filepath")
_LISTS = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class ImageSource:
    """One image: its id, the file that it lies in, and where in a tar (offset and size in bytes).

    ``problem`` says why there is nothing to read.
    """

    id: str
    path: str
    span: tuple[int, int] | None = None
    label: str = ""
    problem: str = ""

    def open(self) -> Path | io.BytesIO:
        """What a decoder reads: a path, or the member's bytes.

        Raises:
            InputError: the image is not there, or the tar ends too early.
        """
        if self.problem:
            raise InputError(f"cannot read image {self.problem}")
        if self.span is None:
            return Path(self.path)
        start, size = self.span
        try:
            with Path(self.path).open("rb") as file:
                file.seek(start)
                member = io.BytesIO(file.read(size))
        except OSError as error:
            raise InputError(f"cannot read image {harmless(self.id)}: {error.strerror}") from error
        member.name = self.id
        return member


@dataclass(frozen=True)
class Columns:
    """Columns of lists by name: of paths (``None``: the first of the usual names), ids and labels."""

    path: str | None = None
    id: str | None = None
    label: str | None = None


@dataclass
class _Found:
    sources: dict[str, ImageSource] = field(default_factory=dict)

    def add(self, source: ImageSource) -> None:
        known = self.sources.setdefault(source.id, source)
        if (known.path, known.span) != (source.path, source.span):
            raise InputError(
                f"images: two have the id '{harmless(source.id)}', expected ids that differ "
                f"({harmless(known.path)} and {harmless(source.path)})"
            )


def list_images(
    words: Sequence[str], columns: Columns | None = None, tolerate_missing: bool = False
) -> tuple[ImageSource, ...]:
    """The images that the words name, each once, in order.

    Args:
        words: image files; folders (all images below them); patterns with ``*``, ``?`` and ``**``; lists
            ``.csv``, ``.tsv`` and ``.txt``, whose paths are relative to the list's folder; shards ``.tar``.
        columns: of lists with a header.
        tolerate_missing: keep listed files that are not there, with their ``problem``.

    Raises:
        InputError: nothing there, nothing below a folder, a list or tar that cannot be read, listed files
            that are missing, or one id for two images.
    """
    found = _Found()
    for word in words:
        for source in _named(word, columns or Columns(), tolerate_missing):
            found.add(source)
    if not found.sources:
        raise InputError("images: none, expected at least one")
    return tuple(found.sources.values())


def _named(word: str, columns: Columns, tolerate_missing: bool) -> Iterator[ImageSource]:
    path = Path(word)
    if path.is_dir():
        yield from _below(path)
    elif path.is_file() or not glob.has_magic(word):
        yield from _of_file(path, columns, tolerate_missing)
    else:
        found = glob.glob(word, recursive=True)  # noqa: PTH207, pathlib has no absolute patterns
        names = sorted(name for name in found if Path(name).is_file())
        if not names:
            raise InputError(f"images: nothing matches '{word}'")
        for name in names:
            yield from _of_file(Path(name), columns, tolerate_missing)


def _of_file(path: Path, columns: Columns, tolerate_missing: bool) -> Iterator[ImageSource]:
    suffix = path.suffix.lower()
    if suffix in _LISTS:
        yield from _listed(path, columns, tolerate_missing)
    elif suffix == ".tar":
        yield from _members(path)
    elif path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise InputError(f"images: '{path}' is compressed, expected a plain .tar (its images are anyway)")
    elif path.is_file():
        yield ImageSource(str(path), str(path))
    else:
        raise InputError(f"images: there is no '{harmless(str(path))}'")


def _below(folder: Path) -> Iterator[ImageSource]:
    count = 0
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes():
                count += 1
                path = str(Path(here) / name)
                yield ImageSource(path, path)
    if not count:
        raise InputError(f"images: none below '{folder}'")


def _listed(path: Path, columns: Columns, tolerate_missing: bool) -> Iterator[ImageSource]:
    absent = 0
    first = ""
    for name, id_, label in _rows(path, columns):
        file = path.parent / name
        problem = "" if file.is_file() else missing(path.parent, name)
        absent += bool(problem)
        first = first or problem
        yield ImageSource(id_ or str(file), str(file), None, label, problem)
    if absent and not tolerate_missing:
        raise InputError(
            f"images: {absent:,} of '{path}' are not there, the first: {first} (--skip_unreadable leaves "
            "such out)"
        )


def _rows(path: Path, columns: Columns) -> Iterator[tuple[str, str, str]]:
    """Path, id and label of each line; a text without a header has a path a line."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"images: cannot read '{path}' ({error.strerror})") from error
    if path.suffix.lower() == ".txt":
        lines = (line.strip() for line in text.splitlines())
        yield from ((line, "", "") for line in lines if line)
        return
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [name.strip() for name in next(rows, [])]
    places = _places(path, header, columns)
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        if len(row) <= max(place for place in places if place is not None):
            raise InputError(f"images: '{path}' line {number} has {len(row)} of {len(header)} columns")
        name, id_, label = ("" if place is None else row[place].strip() for place in places)
        if not name:
            raise InputError(f"images: '{path}' line {number} has no path")
        yield name, id_, label


def _places(path: Path, header: list[str], columns: Columns) -> list[int | None]:
    usual = next((name for name in header if name.lower() in PATH_COLUMNS), None)
    if columns.path is None and usual is None:
        raise InputError(
            f"images: '{path}' has no column {', '.join(PATH_COLUMNS)} (it has "
            f"{harmless(', '.join(header[:20]))}), expected one, or --column"
        )
    wanted = {"--column": columns.path or usual, "--id_column": columns.id, "--label_column": columns.label}
    for flag, name in wanted.items():
        if name is not None and name not in header:
            raise InputError(
                f"{flag}: '{name}' is not in '{path}' (it has {harmless(', '.join(header[:20]))})"
                + nearest(name, header)
            )
    return [None if name is None else header.index(name) for name in wanted.values()]


def _members(path: Path) -> Iterator[ImageSource]:
    """The images of a shard; the text of ``<key>.cls`` beside ``<key>.jpg`` is its label."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = [each for each in tar if each.isfile()]
            keys = {_key(each.name): each for each in members if each.name.endswith(".cls")}
            labels = {key: _text(tar, each) for key, each in keys.items()}
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"images: cannot read '{path}' ({error})") from error
    images = [each for each in members if Path(each.name).suffix.lower() in suffixes()]
    if not images:
        raise InputError(f"images: no image in '{path}'")
    for each in images:
        label = labels.get(_key(each.name), "")
        yield ImageSource(f"{path}/{each.name}", str(path), (each.offset_data, each.size), label)


def _key(name: str) -> str:
    """WebDataset's: all up to the first dot of the name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    return "" if file is None else file.read(1000).decode("utf-8", "replace").strip()
