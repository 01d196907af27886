"""``fghash encode``: codes of any images by a stored run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, at_least
from fghash.display import harmless
from fghash.errors import InputError
from fghash.settings.sources import notice

if TYPE_CHECKING:
    from fghash.search.block_encoding import EncodingOptions
    from fghash.search.bulk_encoding import EncodedFile

DESCRIPTION = """\
Encode images with a stored run or a bundle into one file of codes and ids. IMAGES are files, folders,
patterns ("photos/**/*.jpg"), lists (.csv and .tsv with a column path, .txt with a path a line; relative to
the list's folder) and shards (.tar, as WebDataset writes them). The same command resumes; the ids are the
paths, or --id_column.

  fghash encode runs/synthetic/phpq/32/ID photos --out codes.npz
  fghash encode bundle list.csv --id_column sku --label_column species --out codes.parquet"""
_SHOWN = 3  # unreadable images that are named at once


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash encode ARGV``; the exit status."""
    given = _options().read(argv)
    from fghash.search.coded_items import require_suffix
    from fghash.search.image_lists import Columns, list_images

    require_suffix(given.out)
    if not given.out.resolve().parent.is_dir():
        raise InputError(f"--out: there is no folder '{given.out.parent}' to write '{given.out.name}' in")
    columns = Columns(given.column, given.id_column, given.label_column)
    sources = list_images(given.images, columns, given.skip_unreadable)
    from fghash.api import find_run, load_run
    from fghash.search.bulk_encoding import encode_files, forget, is_encoded

    loaded = load_run(find_run(given.run))
    options = _encoding(given, loaded.config.batch_size)
    if given.force:
        forget(given.out)
    elif is_encoded(given.out, loaded, sources, options):
        print(f"{given.out}: encoded before ({len(sources):,} images)")
        return 0
    with progress() as bar:
        task = bar.add_task("encode", total=len(sources))
        result = encode_files(loaded, sources, given.out, options, lambda count: bar.advance(task, count))
    _report(result, given.out)
    return 0


def _report(result: EncodedFile, out: Path) -> None:
    if result.skipped:
        listed = out.with_name(f"{out.name}.skipped.txt")
        listed.write_text("".join(f"{harmless(why)}\n" for _, why in result.skipped), encoding="utf-8")
        first = "; ".join(why for _, why in result.skipped[:_SHOWN])
        notice(f"{len(result.skipped):,} images left out (all in {listed}): {first}")
    resumed = f", {result.before:,} of them by an earlier call" if result.before else ""
    print(f"{out}: {result.items:,} items{resumed}")


def _encoding(given: argparse.Namespace, batch_size: int) -> EncodingOptions:
    from fghash.search.block_encoding import EncodingOptions

    return EncodingOptions(
        batch_size=given.batch_size or batch_size,
        queries=given.queries,
        vectors=given.vectors,
        skip_unreadable=given.skip_unreadable,
        devices=_devices(given),
        threads=given.threads,
    )


def _devices(given: argparse.Namespace) -> tuple[str, ...]:
    """One process each."""
    from fghash.settings.resolve import read_gpus
    from fghash.training.trainer import choose_devices

    devices = choose_devices(read_gpus(given.gpus, "--gpus"), given.cpus)
    if devices.accelerator == "cpu":
        return ("cpu",) * devices.count
    return tuple(f"cuda:{number}" for number in devices.chosen or range(devices.count))


def progress() -> Any:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _options() -> Options:
    options = Options("encode", DESCRIPTION)
    options.add_argument("run", metavar="RUN", help="folder of a run or bundle, or above one; hf://user/name")
    options.add_argument(
        "images", nargs="+", metavar="IMAGES", help="files, folders, patterns, lists, shards"
    )
    options.add_argument("--out", type=Path, required=True, metavar="FILE", help=".npz, .parquet or .lance")
    options.add_argument("--queries", action="store_true", help="encode as queries (methods of codewords)")
    options.add_argument("--vectors", action="store_true", help="store real vectors, too, for re-ranking")
    options.add_argument("--skip_unreadable", action="store_true", help="leave out what cannot be read")
    options.add_argument("--column", metavar="NAME", help="of paths, in lists (path, image, file, filename)")
    options.add_argument("--id_column", metavar="NAME", help="of ids, in lists (the paths)")
    options.add_argument("--label_column", metavar="NAME", help="of classes, in lists (none)")
    options.add_argument("--batch_size", type=at_least(1), help="images at a time (as in training)")
    options.add_argument("--gpus", metavar="N", help="GPUs, a process each, or their numbers (all)")
    options.add_argument(
        "--cpus", type=at_least(1), metavar="N", help="processes on the CPU, in place of GPUs"
    )
    options.add_argument("--threads", type=at_least(1), help="that decode, of each process (all cores)")
    options.add_argument("--force", action="store_true", help="replace the file and what was begun")
    return options
