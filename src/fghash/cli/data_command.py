"""``fghash data``: where the data sets come from, fetching them, and looking at what has come."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.options import Options, at_least
from fghash.data.prepare.origins import SOURCES
from fghash.display import harmless
from fghash.errors import InputError
from fghash.registry import DATASETS, look_up, nearest
from fghash.settings.flags import read_flags
from fghash.settings.sources import Layer, flag_layer, notice

if TYPE_CHECKING:
    from fghash.data.prepare.check import Report

HELP = """\
Where the data sets come from, fetching them, and looking at every file before a long training does.

  fghash data list                        each data set, how it is fetched, and its terms
  fghash data prepare NAME --root DIR     download, verify and unpack; again: resume, or nothing to do
  fghash data check NAME --root DIR       open every file, find queries that are in the gallery

  fghash data images NAME --out FOLDER    write images of a data set as files, to search for them, say

  fghash data prepare --help (check, images)   tell more
"""

PREPARE = """\
Download a data set's archives (of several mirrors the first that serves the right file), verify their
checksums and unpack them into DIR. The same command resumes what broke off and leaves alone what is there.
Where the terms forbid automation, the steps for a person are said instead, with exit status 2.

  fghash data prepare cub200 --root datasets/cub200"""

CHECK = """\
Read a data set's lists, open every file, and look for queries whose bytes are also in the gallery. Prints
counts, fingerprint and what is wrong; exit status 2 if anything is. The data set's own settings are given as
to fit (fghash fit --data NAME --help lists them).

  fghash data check cub200 --root datasets/cub200
  fghash data check vegfru --root datasets/vegfru --data.protocol trainval --fix-list fixed.csv
  fghash data check cub200 --root datasets/cub200 --features cache      (stale feature caches)"""


IMAGES = """\
Write images of a data set as PNG files, FOLDER/<class>/<name>.png: those of a generated data set, say, to
encode them and to search for them. Pixels are those that methods see, before any scaling.

  fghash data images synthetic --out birds --per_class 1
  fghash data images cub200 --root datasets/cub200 --split gallery --out gallery"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash data ARGV``; the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    actions = {"list": _list, "prepare": _prepare, "check": _check, "images": _images}
    if argv[0] not in actions:
        known = f"(known: {', '.join(actions)}){nearest(argv[0], actions)}"
        raise InputError(f"data: unknown name '{argv[0]}' {known}")
    return actions[argv[0]](argv[1:])


def _list(argv: Sequence[str]) -> int:
    Options("data list", "Each data set, how it is fetched, and its terms of use.").read(argv)
    print("\n".join(_lines()))
    return 0


def _lines() -> Iterator[str]:
    yield f"{'name':<12}{'fetched':<12}what it is"
    for name, entry in sorted(DATASETS.items()):
        source = SOURCES.get(name)
        fetched = "-" if source is None else "by hand" if source.steps else "by prepare"
        yield f"{name:<12}{fetched:<12}{entry.summary}"
        if source is not None:
            yield from textwrap.wrap(
                f"terms: {source.terms}", 110, initial_indent=" " * 24, subsequent_indent=" " * 26
            )


def _prepare(argv: Sequence[str]) -> int:
    options = Options("data prepare", PREPARE)
    options.add_argument("name", metavar="NAME", help="the data set (fghash data list)")
    options.add_argument("--root", metavar="DIR", required=True, help="the folder to fetch it into")
    given = options.read(argv)
    look_up(DATASETS, given.name, "data prepare")
    if given.name not in SOURCES:
        raise InputError(
            f"data prepare: nothing is fetched for '{given.name}' (known: {', '.join(sorted(SOURCES))})"
        )
    from fghash.data.prepare.download import prepare

    root = prepare(given.name, given.root)
    print(f"prepared {given.name} in {root}; use --data {given.name} --data.root {root}")
    return 0


def _check(argv: Sequence[str]) -> int:
    words, settings = _apart(argv)
    options = Options("data check", CHECK)
    options.add_argument("name", metavar="NAME", help="the data set (fghash data list)")
    options.add_argument("--root", metavar="DIR", help="the folder of its files; --data.root is the same")
    options.add_argument(
        "--fix-list", type=Path, metavar="FILE",
        help="write a list without what is wrong, a table for --data csv",
    )  # fmt: skip
    options.add_argument(
        "--features", type=Path, metavar="DIR",
        help="of the feature caches there tell which are stale or damaged; images are not opened",
    )  # fmt: skip
    given = options.read(words)
    look_up(DATASETS, given.name, "data check")
    layer = _layer(settings, given.root)
    _require_root(given.name, layer)
    _require_folder_of(given.fix_list)
    if given.features is not None:
        return _feature_caches(given.name, layer, given.features.expanduser())
    return _report(_checked(given.name, layer), given.fix_list)


def _images(argv: Sequence[str]) -> int:
    words, settings = _apart(argv)
    options = Options("data images", IMAGES)
    options.add_argument("name", metavar="NAME", help="the data set (fghash data list)")
    options.add_argument("--root", metavar="DIR", help="the folder of its files; --data.root is the same")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where they are written")
    options.add_argument(
        "--split", choices=("query", "gallery", "train"), default="query", help="of which (query)"
    )
    options.add_argument("--per_class", type=at_least(1), metavar="N", help="the first N of each class (all)")
    given = options.read(words)
    look_up(DATASETS, given.name, "data images")
    layer = _layer(settings, given.root)
    _require_root(given.name, layer)
    if given.out.exists() and not given.out.is_dir():
        raise InputError(f"--out: '{given.out}' is a file, expected a folder")
    from fghash.data.prepare.image_files import write_images
    from fghash.settings.typed import SettingsParser, data_section

    data = DATASETS[given.name].load()(**SettingsParser([data_section(given.name)]).parse([layer])["data"])
    count = write_images(data.read(), given.split, given.out, given.per_class)
    print(f"{count:,} images in {given.out}")
    return 0


def _apart(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of the command, and those of the data set's settings: ``--data.*``, each with its value."""
    words, own, settings = deque(argv), list[str](), list[str]()
    while words:
        word = words.popleft()
        (settings if word.startswith("--data.") else own).append(word)
        if word.startswith("--data.") and "=" not in word and words:
            settings.append(words.popleft())
    return own, settings


def _layer(settings: Sequence[str], root: str | None) -> Layer:
    values = read_flags(settings).values.get("data", {})
    return flag_layer({"data": values if root is None else {**values, "root": root}})


def _require_root(name: str, layer: Layer) -> None:
    """Refuse a missing folder before torch is imported."""
    root = layer.values["data"].get("root")
    DATASETS[name].refuse_root(name, root, "--root")


def _require_folder_of(file: Path | None) -> None:
    """Refuse a list that has nowhere to go before every file is opened."""
    if file is None:
        return
    path = file.expanduser()
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise InputError(f"--fix-list: expected a file in an existing folder, got '{file}'")


def _checked(name: str, layer: Layer) -> Report:
    from fghash.data.prepare.check import check
    from fghash.settings.typed import SettingsParser, data_section  # torch comes with the class

    settings = SettingsParser([data_section(name)]).parse([layer])["data"]
    return check(DATASETS[name].load()(**settings).read())


def _feature_caches(name: str, layer: Layer, root: Path) -> int:
    """A line for each feature cache; 2 if one of this data set is stale or damaged."""
    from fghash.feature_cache import conditions
    from fghash.settings.typed import SettingsParser, data_section

    data = DATASETS[name].load()(**SettingsParser([data_section(name)]).parse([layer])["data"])
    data.setup()
    found = conditions(root, data)
    for each in found:
        print(harmless(f"{each.state:<11} {each.n_bytes / 1e9:6.2f} GB  {each.name}  ({each.detail})"))
    if not found:
        print(f"no feature caches in {root}")
    bad = [each for each in found if each.state in ("stale", "damaged")]
    if bad:
        notice(f"{len(bad)} of {len(found)} caches are stale or damaged; delete their folders in {root}")
    return 2 if bad else 0


def _report(report: Report, fix_list: Path | None) -> int:
    print("\n".join(report.lines()))
    if fix_list is not None:
        file = fix_list.expanduser().absolute()
        n_left_out = report.write_list(file)
        print(f"left out: {n_left_out}")
        print(f"use --data csv --data.root {report.root} --data.file {file}")
    elif not report.good and report.root is not None:
        notice("the data set is not as it should be; --fix-list FILE writes a list without what is wrong")
    return 0 if report.good else 2
