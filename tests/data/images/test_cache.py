"""The decoded cache: same pictures, safe to build, safe to open."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fghash.data.images import cache_build
from fghash.data.images.cache import Index
from fghash.data.images.cache_build import decoded
from fghash.data.images.decoding import image_shape
from fghash.data.items import Files
from fghash.data.sets.folder import Folder
from fghash.errors import InputError


@pytest.fixture
def files(tree: Path) -> Files:
    names = tuple(str(path.relative_to(tree)) for path in sorted(tree.glob("*/*/*.png")))
    return Files(tree, names)


def folder_of(cache: Path) -> Path:
    (place,) = (path for path in cache.iterdir() if path.is_dir())
    return place


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_pictures_are_those_of_the_files(files: Files, tmp_path: Path, where: str):
    cache = "ram" if where == "ram" else str(tmp_path / "cache")
    source = decoded(files, cache, "fingerprint", 20, n_threads=2)
    assert len(source) == len(files) == 33
    for position in (0, 7, 32):
        assert (source.read(position) == files.read(position, 20)).all()
        assert min(source.read(position).shape[:2]) == 20


def test_large_jpegs_decoded_small_keep_their_shape(tmp_path: Path, image):
    image(tmp_path / "big.jpg", size=(333, 217))
    files = Files(tmp_path, ("big.jpg",))
    assert image_shape(tmp_path / "big.jpg") == (217, 333)
    small = files.read(0, 24)
    assert small.shape == (24, 36, 3)
    assert (decoded(files, "ram", "f", 24, 1).read(0) == small).all()
    exact = Files(tmp_path, ("big.jpg",)).read(0)
    assert abs(small.mean() - exact.mean()) < 1


def test_size_is_as_announced_and_a_second_run_builds_nothing(files: Files, tmp_path: Path, monkeypatch):
    decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    place = folder_of(tmp_path / "cache")
    shapes = [(20, int(20 * (40 + k) / 30)) for k in range(3)]
    assert (place / "pixels").stat().st_size >= sum(h * w * 3 for h, w in shapes)
    assert (place / "pixels").stat().st_size == json.loads((place / "cache.json").read_text())["bytes"]
    monkeypatch.setattr(cache_build, "_build", None)
    decoded(files, str(tmp_path / "cache"), "f", 20, 1)


def test_index_aligns_and_covers():
    index = Index.of([(1, 1), (5, 7), (64, 1)])
    assert index.starts.tolist() == [0, 64, 192, 384]
    assert index.n_bytes == 384
    assert Index.of([]).n_bytes == 0


def test_other_data_sizes_and_files_have_their_own_cache(files: Files, tmp_path: Path, image):
    root = tmp_path / "cache"
    for fingerprint, side in (("a", 20), ("b", 20), ("a", 22)):
        decoded(files, str(root), fingerprint, side, 1)
    image(files.root / files.names[0], 199, (80, 50))
    source = decoded(files, str(root), "a", 20, 1)
    assert source.read(0).shape == (20, 32, 3)
    assert sum(path.is_dir() for path in root.iterdir()) == 4


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_evaluation_is_bitwise_the_same_with_and_without(tree: Path, tmp_path: Path, where: str):
    def images(**settings) -> torch.Tensor:
        module = Folder(root=str(tree), image_size=24, batch_size=4, num_workers=0, **settings)
        module.setup()
        loaders = [module.query_dataloader(), module.gallery_dataloader(), module.train_eval_dataloader()]
        return torch.cat([batch.images for loader in loaders for batch in loader])

    cache = "ram" if where == "ram" else str(tmp_path / "cache")
    assert torch.equal(images(), images(cache=cache))


def test_training_with_a_cache_does_not_depend_on_workers_or_place(tree: Path, tmp_path: Path):
    def images(cache: str, n_workers: int) -> torch.Tensor:
        module = Folder(root=str(tree), image_size=24, batch_size=4, num_workers=n_workers, cache=cache)
        module.setup()
        return torch.cat([batch.images for batch in module.train_dataloader()])

    first = images("ram", 0)
    assert torch.equal(first, images(str(tmp_path / "cache"), 0))
    assert torch.equal(first, images(str(tmp_path / "cache"), 2))


def test_a_source_travels_to_another_process(files: Files, tmp_path: Path):
    source = decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    source.read(0)
    sent = pickle.dumps(source)
    assert len(sent) < 10_000
    assert (pickle.loads(sent).read(3) == source.read(3)).all()


def build(files: Files, root: str, results) -> None:
    source = decoded(files, root, "f", 20, 1)
    results.put([int(source.read(k).sum()) for k in range(len(files))])


def test_two_processes_building_at_once_end_with_one_cache(files: Files, tmp_path: Path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    runs = [context.Process(target=build, args=(files, str(tmp_path / "cache"), results)) for _ in range(2)]
    for run in runs:
        run.start()
    sums = [results.get(timeout=60) for _ in runs]
    for run in runs:
        run.join(60)
    assert sums[0] == sums[1]
    assert sorted(path.name for path in folder_of(tmp_path / "cache").iterdir()) == [
        "cache.json",
        "index.npz",
        "pixels",
    ]


def test_without_locks_the_first_to_finish_wins(files: Files, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    real = cache_build._write

    def overtaken(files, index, building, short_side, n_threads):
        real(files, index, building, short_side, n_threads)
        place = building.with_name(building.name[1:].partition(".building-")[0])
        if not place.exists():
            shutil.copytree(building, place)

    monkeypatch.setattr(cache_build, "_write", overtaken)
    source = decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert source.read(0).shape[0] == 20


def test_what_a_killed_build_left_is_cleared(files: Files, tmp_path: Path):
    decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    place = folder_of(tmp_path / "cache")
    left = place.rename(place.with_name(f".{place.name}.building-123"))
    (left / "pixels").write_bytes(b"half")
    decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert folder_of(tmp_path / "cache") == place


def leaves_nothing(root: Path) -> bool:
    return not root.exists() or not [path for path in root.iterdir() if path.is_dir()]


def test_a_full_disk_is_one_line_and_leaves_nothing(files: Files, tmp_path: Path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_build.os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"--data\.cache: cannot write below .*cache: the disk is full$"):
        decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert leaves_nothing(tmp_path / "cache")


def test_a_disk_that_fills_up_at_the_last_file_leaves_nothing(files: Files, tmp_path: Path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)  # the pixels are written otherwise, and before
    with pytest.raises(InputError, match=r"--data\.cache: .*the disk is full$"):
        decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert leaves_nothing(tmp_path / "cache")


def test_too_little_room_is_said_before_anything_is_written(files: Files, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cache_build.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=r"needs .* GB, only .* GB are free"):
        decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert leaves_nothing(tmp_path / "cache")
    monkeypatch.setattr(cache_build, "free_memory", lambda: 100)
    with pytest.raises(InputError, match=r"--data\.cache: memory needs"):
        decoded(files, "ram", "f", 20, 1)


def test_an_unreadable_picture_is_named_and_leaves_nothing(files: Files, tmp_path: Path):
    path = files.root / files.names[5]
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=f"cannot read image {path}"):
        decoded(files, str(tmp_path / "cache"), "f", 20, 2)
    assert leaves_nothing(tmp_path / "cache")


def test_a_place_that_is_no_folder(files: Files, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"--data\.cache: cannot write below .*cache"):
        decoded(files, str(tmp_path / "cache"), "f", 20, 1)


def flip_a_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def rewrite(place: Path, **changes) -> None:
    about = json.loads((place / "cache.json").read_text())
    (place / "cache.json").write_text(json.dumps(about | changes))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda place: rewrite(place, version=0), "is of version 0, not 2: delete that folder"),
        (lambda place: (place / "cache.json").write_text("[]"), "is of version"),
        (lambda place: (place / "cache.json").write_text("{"), "is damaged"),
        (lambda place: (place / "pixels").unlink(), "is damaged"),
        (lambda place: (place / "index.npz").unlink(), "is damaged"),
        (lambda place: flip_a_byte(place / "index.npz", 200), "is corrupted"),
        (lambda place: os.truncate(place / "pixels", 64), "is corrupted"),
        (lambda place: rewrite(place, items=7), "is corrupted"),
    ],
)
def test_a_cache_that_is_not_what_was_written_is_refused(files: Files, tmp_path: Path, harm, message):
    decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    harm(folder_of(tmp_path / "cache"))
    with pytest.raises(InputError, match=message) as caught:
        decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert "\n" not in str(caught.value)


def test_a_single_wrong_byte_is_found_where_it_is(files: Files, tmp_path: Path):
    source = decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    flip_a_byte(folder_of(tmp_path / "cache") / "pixels", int(source.index.starts[4]) + 100)
    again = decoded(files, str(tmp_path / "cache"), "f", 20, 1)
    assert again.read(3).shape[0] == 20
    with pytest.raises(InputError, match=r"corrupted at picture 4, delete that folder"):
        again.read(4)


def test_pictures_cannot_be_written_to(files: Files, tmp_path: Path):
    for cache in ("ram", str(tmp_path / "cache")):
        picture = decoded(files, cache, "f", 20, 1).read(0)
        with pytest.raises(ValueError, match="read-only"):
            picture[0, 0, 0] = 1
    assert isinstance(picture, np.ndarray)
