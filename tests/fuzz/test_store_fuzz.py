"""Stores of absurd contents: a file is skipped in one line or shown harmlessly, and nothing else changes."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fghash.cli import main
from fghash.codes import RealCodes
from fghash.errors import InputError
from fghash.store import RunFolder
from fuzz_bytes import absurd_bytes
from store_fixtures import make_record, store

OLD = Path(__file__).parents[1] / "report" / "old_store"
NUMBERS = [10**30, -(10**30), 2**63, 2**63 - 1, 10**400, 1e308, -1e308, 5e-324, -0.0, -1, 0, 7, 0.5, True]
NUMBERS += [float("nan"), float("inf")]
TEXTS = ["", "\ud800", "\udce9", "\0", "\x1b[31m", "=1+1", "a|b", "\u202e", "\n", "x" * 3000, "²", "1", "NaN"]
TEXTS += ["../../x", "a=b c=d", "folder:cars"]
ABSURD: list[Any] = [*NUMBERS, *TEXTS, None, [], {}, [[[[]]]], {"map": 1}, {"": {"": {}}}, [None] * 50]
KEYS = ["schema", "map", "scores", "method", "seeds", "map_std", "n_²", "a" * 200, "\ud800", "", "variant"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside, containers included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from leaves(each, (*path, key))


def absurd_json(draw: random.Random, content: bytes) -> bytes:
    """A value replaced, deleted or added."""
    value = {"": copy.deepcopy(json.loads(content))}
    *above, key = draw.choice(list(leaves(value))[1:])
    inside: Any = value
    for step in above:
        inside = inside[step]
    if draw.random() < 0.2 and above:
        del inside[key]
    elif draw.random() < 0.2 and isinstance(inside[key], dict):
        inside[key][draw.choice(KEYS)] = draw.choice(ABSURD)
    else:
        inside[key] = draw.choice(ABSURD)
    return json.dumps(value[""]).encode()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("template") / "runs"
    shutil.copytree(OLD, runs)
    fields = {"preset": "default", "epochs": 3, "image_passes": 9, "batch_size": 4, "train_seconds": 1.5}
    store(runs, make_record(seed=0, map_real=0.5, n_queries=3, **fields), make_record(seed=1, **fields))
    return runs


def leaderboard(runs: Path, out: Path) -> list[dict[str, str]]:
    """The rows of the leaderboard, which is written in every format."""
    words = [word for suffix in ("csv", "md", "tex") for word in ("--out", str(out / f"table.{suffix}"))]
    assert main(["leaderboard", "--runs", str(runs), *words]) == 0
    for suffix in ("md", "tex"):
        text = (out / f"table.{suffix}").read_text(encoding="utf-8")
        assert all(line.isprintable() for line in text.split("\n"))
    return list(csv.DictReader(io.StringIO((out / "table.csv").read_text(encoding="utf-8"))))


def row_of(rows: list[dict[str, str]], method: str) -> list[tuple[str, str]]:
    """What the row of network codes of a method says, without empty cells."""
    (row,) = [row for row in rows if row["method"] == method and row["gallery_codes"] == "network"]
    return sorted(item for item in row.items() if item[1])


def test_absurd_files_of_a_run_are_skipped_in_a_line_or_shown(
    template: Path, tmp_path: Path, cases: Callable[[int], range], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = leaderboard(template, tmp_path)
    files = [path.relative_to(template) for path in sorted((template / "synthetic" / "dpq").rglob("*.*"))]
    for case in cases(60):
        draw = random.Random(case)
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        shutil.copytree(template, tmp_path / "runs")
        name = draw.choice(files)
        path = tmp_path / "runs" / name
        change = draw.choice([absurd_json, absurd_bytes] if path.suffix == ".json" else [absurd_bytes])
        path.write_bytes(change(draw, path.read_bytes()))
        capsys.readouterr()
        rows = leaderboard(tmp_path / "runs", tmp_path)
        said = capsys.readouterr().err
        assert all(line.startswith("fghash: skipped") for line in said.splitlines()), (case, said)
        assert len(said.splitlines()) <= 1, (case, said)
        assert row_of(rows, "adsh") == row_of(expected, "adsh"), case
        assert row_of(rows, "hashnet") == row_of(expected, "hashnet"), case
        if name.parent.name == "records":
            assert len(rows) == len(expected) - len(said.splitlines()), (case, said)


def test_absurd_indexes_change_nothing(
    template: Path, tmp_path: Path, cases: Callable[[int], range], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fghash.store.index._SETTLED", 0)
    shutil.copytree(template, tmp_path / "runs")
    index = tmp_path / "runs" / ".index.jsonl"
    expected = leaderboard(tmp_path / "runs", tmp_path)
    whole = index.read_bytes()
    for case in cases(20):
        index.write_bytes(absurd_bytes(random.Random(case), whole))
        assert leaderboard(tmp_path / "runs", tmp_path) == expected, case


def test_absurd_items_and_embeddings_are_input_errors(tmp_path: Path, cases: Callable[[int], range]) -> None:
    folder = RunFolder(tmp_path)
    folder.write_items("gallery", [f"class/{position}.png" for position in range(20)])
    folder.write_embeddings("gallery", RealCodes(np.eye(20, 4, dtype=np.float32)), np.arange(20))
    paths = [tmp_path / "items" / "gallery.json", tmp_path / "embeddings" / "gallery.npz"]
    whole = [path.read_bytes() for path in paths]
    for case in cases(100):
        draw = random.Random(case)
        which = draw.randrange(2)
        paths[which].write_bytes(absurd_bytes(draw, whole[which]))
        with contextlib.suppress(InputError):
            folder.read_items("gallery")
            folder.read_embeddings("gallery")
        paths[which].write_bytes(whole[which])
