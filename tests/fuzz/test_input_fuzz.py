"""Mutated tables, lists, images, configs and command lines: right, or one line, never a traceback."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fghash.cli import main
from fghash.data.images.decoding import read_image
from fghash.data.items import Files, Splits
from fghash.data.overlap import refuse_same_files
from fghash.data.sets.csv import read_csv
from fghash.data.sets.lists import read_lists
from fghash.errors import InputError
from fghash.settings.resolve import check_source, choose
from fghash.settings.sources import config_layer

TABLE = "path,label,split\n" + "".join(
    f"img/{i}.png,{'abc'[i % 3]},{'train' if i < 6 else 'query'}\n" for i in range(9)
)
LIST = "".join(f"img/{i}.png {'1 0 0'[2 * (i % 3) :] + ' 0' * (i % 3)}\n" for i in range(6))
TOKENS = [
    b'"',
    b"'",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"..",
    b"/",
    b"\\",
    b"./",
    b"#",
    b"9" * 5000,
    b"x" * 140_000,
    b"-1",
    b"1.0",
    b"nan",
    b" ",
    b"img/0.png",
    b"train",
    b"query",
    b"\xe9",
    b"\x1b[2J",
]
CONFIG = """\
method: {name: hashnet, alpha: 0.1, stages: 4}
data: {name: synthetic, families: 2, image_size: 32}
optim: {name: adamw, lr: 0.001, milestones: [0.5, 0.9]}
trainer: {max_epochs: 1, limit_train_batches: 2}
bits: 16
seed: 3
cutoffs: [1, 10]
"""
WORDS = [
    "fit",
    "--method",
    "hashnet",
    "phpq",
    "--bits",
    "16",
    "--data",
    "synthetic",
    "--trainer.max_epochs",
    "1",
    "--seed",
    "--optim.lr",
    "0.1",
    "--gpus",
    "0",
    "--cutoffs",
    "5",
    "--preset",
    "faithful",
    "--backbone",
    "nowhere",
    "=",
    "--",
    "--force",
    "nan",
    "-1",
    "9" * 400,
    "",
    "\0",
    "--data.sampler",
    "pk",
    "list",
    "methods",
    "evaluate",
    "--gallery",
    "leaderboard",
    "--out",
    "x.csv",
    "data",
    "check",
    "csv",
    "--root",
    "compare",
    "\udce9",
    "--trainer.precision",
    "[",
]


def mutated(draw: random.Random, content: bytes) -> bytes:
    """One or two changes: of lines (gentle), or bytes removed, repeated, replaced, or a token put in."""
    for _ in range(draw.randint(1, 2)):
        content = draw.choice((of_lines, of_bytes))(draw, content)
    return content


def of_lines(draw: random.Random, content: bytes) -> bytes:
    """A line removed, moved, written again, or in capitals; spaces or an empty line put in."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    line = lines.pop(at)
    changes = (
        [],
        [line, b""],
        [line, line],
        [line.upper()],
        [line.replace(b",", b" , ")],
        [b" " + line + b" "],
    )
    place = draw.randrange(len(lines) + 1) if draw.random() < 0.3 else at
    return b"\n".join([*lines[:place], *draw.choice(changes), *lines[place:]])


def of_bytes(draw: random.Random, content: bytes) -> bytes:
    """Bytes removed, repeated, replaced, or a token put in."""
    start = draw.randrange(len(content) + 1)
    stop = min(len(content), start + draw.choice((1, 2, 9, 40)))
    change = draw.randrange(4)
    middle = (b"", content[start:stop] * 2, draw.randbytes(stop - start), draw.choice(TOKENS))[change]
    return content[:start] + middle + content[stop if change != 3 else start :]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    (root / "img").mkdir()
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "img" / f"{i}.png")
    return root


def check_honest(splits: Splits) -> None:
    """Every item is a file that is there, once, and no query is trained on."""
    refuse_same_files(splits)
    for items in (splits.train, splits.query):
        assert isinstance(items.source, Files)
        assert len(items.names) == len(items.labels) > 0
        assert all((items.source.root / name).is_file() for name in items.names)


def read(function, *args) -> Splits | None:
    """The splits, or nothing where they are refused in a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            splits = function(*args)
            check_honest(splits)
        except InputError as error:
            refused = str(error)
        else:
            return splits
    assert "\n" not in refused
    assert len(refused) < 2000
    return None


def records(text: bytes) -> int:
    """Lines with anything on them, as a plain look at the bytes tells; -1 where quotes hide it."""
    if b'"' in text or b"\0" in text or b"\x1b" in text:
        return -1
    return sum(bool(line.strip()) for line in text.replace(b"\r", b"\n").split(b"\n"))


def test_tables(root, cases):
    accepted = 0
    for seed in cases(60):
        text = mutated(random.Random(seed), TABLE.encode())
        (root / "index.csv").write_bytes(text)
        splits = read(read_csv, root)
        if splits is not None:
            accepted += 1
            expected = records(text) - 1
            assert expected < 0 or len(splits.train) + len(splits.query) == expected, (seed, text)
    assert accepted


def test_lists(root, cases):
    accepted = 0
    (root / "test.txt").write_text("".join(f"img/{i}.png 1 0 0\n" for i in range(6, 9)))
    for seed in cases(60):
        text = mutated(random.Random(seed), LIST.encode())
        (root / "train.txt").write_bytes(text)
        splits = read(read_lists, root)
        if splits is not None:
            accepted += 1
            comments = sum(line.strip().startswith(b"#") for line in text.replace(b"\r", b"\n").split(b"\n"))
            expected = records(text) - comments
            assert expected < 0 or len(splits.train) == expected, (seed, text)
    assert accepted


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
def test_images(kind, tmp_path, cases):
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, kind)
    path = tmp_path / f"image.{kind.lower()}"
    for seed in cases(20):
        draw = random.Random(seed)
        path.write_bytes(mutated(draw, data.getvalue()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for tolerate in (False, True):
                with contextlib.suppress(InputError):
                    image = read_image(path, draw.choice((None, 8)), tolerate)
                    assert image.ndim == 3
                    assert image.dtype == np.uint8


def test_configs(cases):
    for seed in cases(25):
        text = mutated(random.Random(seed), CONFIG.encode()).decode("utf-8", errors="replace")
        refused = ""
        try:
            check_source(choose([config_layer(text, "fuzz.yaml")]))
        except InputError as error:
            refused = str(error)
        assert "\n" not in refused


def test_command_lines(tmp_path, monkeypatch, cases):
    """No training is started: every line asks for a network that timm does not have, or fails before."""
    monkeypatch.chdir(tmp_path)
    for seed in cases(40):
        draw = random.Random(seed)
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 8))]
        if words[0] == "fit":
            words += ["--gpus", "77"]
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = main(words)
        assert status in (0, 2), words
        if status == 2:
            lines = error.getvalue().splitlines()
            assert sum(line.startswith("fghash: error: ") for line in lines) == 1, (words, lines)
