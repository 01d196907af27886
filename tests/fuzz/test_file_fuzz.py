"""Mutated code files, checkpoints, models, caches and archives: read, or one line; no hang, no code run,
nothing left half-written, nothing outside the folder.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import signal
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fghash.backbone.weights import read_weights
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, load_codes, save_codes
from fghash.data.frozen.units import Construction, check_unit, checksums
from fghash.data.images.cache import open_cache
from fghash.data.images.cache_build import decoded
from fghash.data.items import Files
from fghash.data.prepare.unpack import unpack
from fghash.errors import InputError
from fghash.evaluation import TieGroups, evaluate
from fghash.replay import _failure
from fghash.store.upkeep import problems, run_states
from fghash.training.checkpoints import read_checkpoint
from fghash.training.model_files import load_model
from fuzz_bytes import absurd_bytes

SECONDS = 20  # for one case; none needs a tenth of one
RAN = []


class Bomb:
    """Tells when something unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (RAN.append, ("it ran",))


def hang(*_: Any) -> None:
    raise AssertionError(f"no answer within {SECONDS} s")


@contextmanager
def guarded(folder: Path):
    """An input error is an answer; anything else, a hang, code that ran or a file that appeared is not."""
    before = listed(folder)
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with suppress(InputError):
                yield
        finally:
            signal.alarm(0)
    assert RAN == []
    assert listed(folder) == before


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def absurd_arrays(draw: random.Random, arrays: dict[str, np.ndarray]) -> bytes:
    """An npz with one array replaced, dropped or added."""
    absurd = [
        np.zeros(0), np.zeros((0, 8)), np.array(3), np.array(-1), np.array("dot"), np.array(["a", "b"]),
        np.full((4, 8), np.nan), np.full((4, 8), np.inf), np.arange(12), np.zeros((4, 8, 2)),
        np.full(4, 2**63, np.uint64), np.full(4, -(2**63)), np.zeros(4, complex), np.zeros(4, "M8[s]"),
        np.zeros(4, bool),
        np.zeros(4, [("x", "i4")]), np.array([Bomb()], dtype=object), np.full((4, 8), 255, np.uint8),
        np.ones((4, 1 << 16), np.uint8), np.zeros((1, 1)), np.full((4, 2), 7), np.array(2**40), np.array(0.5),
    ]  # fmt: skip
    changed = dict(arrays)
    key = draw.choice(sorted(changed))
    if draw.random() < 0.15:
        del changed[key]
    elif draw.random() < 0.15:
        changed[draw.choice(["codes", "x", "codebooks", "bits", "indices", "embeddings"])] = draw.choice(
            absurd
        )
    else:
        changed[key] = draw.choice(absurd)
    packed = io.BytesIO()
    np.savez(packed, **changed)
    return packed.getvalue()


def mutated(draw: random.Random, content: bytes) -> bytes:
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        content = absurd_bytes(draw, content)
    return content


SHAPES = [
    [], [70], [70, 0], [-70, -5], [70, 5, 1, 1, 1], [1, 350], "70", [70, 2**62], [70, 5.5], [[70], 5], None,
    [70, "5"],
]  # fmt: skip
KINDS = {
    "binary": BinaryCodes.from_signs(np.where(np.random.default_rng(0).random((4, 12)) < 0.5, -1, 1)),
    "quantized": QuantizedCodes(
        np.array([[0, 1], [1, 0], [0, 0], [1, 1]]), np.ones((2, 2, 3), np.float32), "product", "dot"
    ),
    "real": RealCodes(np.eye(4, 3, dtype=np.float32) + 1, "cosine"),
}  # fmt: skip


def spoiled(path: Path, seeds: range) -> Iterator[None]:
    """The npz at that path, spoiled anew for each seed: in its arrays or in its bytes."""
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    for seed in seeds:
        draw = random.Random(seed)
        path.write_bytes(absurd_arrays(draw, arrays) if draw.random() < 0.6 else mutated(draw, whole))
        yield


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_code_files(kind, tmp_path, cases):
    """What is read can be scored."""
    path = tmp_path / "codes.npz"
    save_codes(path, KINDS[kind], [0, 1, 0, 1])
    for _ in spoiled(path, cases(60)):
        with guarded(tmp_path):
            codes, labels = load_codes(path)
            assert len(codes) == len(labels)
            if len(codes) and len(codes) < 100:
                evaluate(codes, codes, labels, labels)


def test_tie_groups(tmp_path, cases):
    codes = KINDS["binary"]
    path = tmp_path / "groups.npz"
    evaluate(codes, codes, [0, 1, 0, 1], [0, 1, 0, 1]).groups.save(path)
    for _ in spoiled(path, cases(40)):
        with guarded(tmp_path):
            TieGroups.load(path)


def test_checkpoints(tmp_path, cases):
    path = tmp_path / "last.ckpt"
    state = {"state_dict": {"x": torch.ones(3)}, "epoch": 1, "global_step": 2, "loops": {}, "callbacks": {}}
    whole = [packed(state), packed({**state, "bomb": Bomb()}), pickle.dumps(Bomb()), pickle.dumps(state)]
    for seed in cases(60):
        draw = random.Random(seed)
        content = draw.choice(whole)
        path.write_bytes(content if draw.random() < 0.05 else mutated(draw, content))
        with guarded(tmp_path):
            read_checkpoint(path)


def packed(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights(suffix, tmp_path, cases):
    path = tmp_path / f"weights{suffix}"
    state = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
    if suffix == ".pth":
        whole = [packed(state), packed({"model": state}), packed([Bomb()]), pickle.dumps(Bomb())]
    else:
        save_file(state, path)
        whole = [path.read_bytes()]
    for seed in cases(60):
        draw = random.Random(seed)
        path.write_bytes(mutated(draw, draw.choice(whole)))
        with guarded(tmp_path):
            read_weights(path, "--backbone.weights")


def test_models_of_runs(tmp_path, cases):
    save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text(
        json.dumps({"num_classes": 2, "class_names": ["a", "b"], "width": 3})
    )
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for seed in cases(60):
        draw = random.Random(seed)
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        name = draw.choice(sorted(whole))
        (tmp_path / name).write_bytes(mutated(draw, whole[name]))
        with guarded(tmp_path):
            load_model(tmp_path)


def test_failures_and_checksums(tmp_path, cases):
    run = tmp_path / "a" / "b" / "8" / "c"
    (run / "checkpoints").mkdir(parents=True)
    failure, sums = run / "checkpoints" / "failure.json", run / "checksums.json"
    told = {"step": 1, "epoch": 0, "batch": 1, "terms": {"loss": "nan"}, "items": [1], "names": ["a"]}
    for seed in cases(60):
        draw = random.Random(seed)
        failure.write_bytes(mutated(draw, json.dumps(told).encode()))
        sums.write_bytes(mutated(draw, json.dumps({"codes/x": "0" * 64, "../../../../x": "1"}).encode()))
        with guarded(tmp_path):
            problems(run)
            run_states(tmp_path)
            _failure(failure)


def test_caches_of_images(tmp_path, cases):
    for number in range(3):
        Image.new("RGB", (20 + number, 16), (number, 9, 9)).save(tmp_path / f"{number}.png")
    files = Files(tmp_path, ("0.png", "1.png", "2.png"))
    decoded(files, str(tmp_path / "cache"), "f", 16, 1)
    (place,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    with np.load(place / "index.npz") as file:
        arrays = {key: file[key] for key in file.files}
    for seed in cases(60):
        draw = random.Random(seed)
        changed = dict(whole)
        name = draw.choice(sorted(whole))
        if (
            name == "index.npz" and draw.random() < 0.7
        ):  # with the hash that belongs to it: by somebody's hand
            import hashlib

            changed[name] = absurd_arrays(draw, arrays)
            about = json.loads(whole["cache.json"])
            about["index"] = hashlib.sha256(changed[name]).hexdigest()
            changed["cache.json"] = json.dumps(about).encode()
        else:
            changed[name] = mutated(draw, whole[name])
        for each, content in changed.items():
            (place / each).write_bytes(content)
        with guarded(tmp_path):
            source = open_cache(place, 3, 16)
            for position in range(3):
                assert source.read(position).ndim == 3


def test_caches_of_features(tmp_path, cases):
    unit = Construction(tmp_path / "train-pooled-view0", (70, 5))
    unit.begin()
    rows, sums, marks = unit.open()
    rows[:] = np.random.default_rng(0).random((70, 5))
    sums[:], marks[:] = checksums(rows), 1
    unit.publish()
    place = tmp_path / "train-pooled-view0"
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    for seed in cases(60):
        draw = random.Random(seed)
        name = draw.choice([*sorted(whole), "about.json"])
        for each, content in whole.items():
            (place / each).write_bytes(content)
        content = whole[name]
        if name == "about.json" and draw.random() < 0.6:
            about = json.loads(content)
            about["shape"] = draw.choice(SHAPES)
            content = json.dumps(about).encode()
        else:
            content = mutated(draw, content)
        (place / name).write_bytes(content)
        with guarded(tmp_path):
            check_unit(place)


def tar_bytes(mode: str, members: list[tarfile.TarInfo], content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:  # type: ignore[call-overload]
        for member in members:
            member.size = len(content) if member.isreg() else 0
            packed.addfile(member, io.BytesIO(content))
    return file.getvalue()


def archives(draw: random.Random) -> tuple[str, bytes]:
    """A suffix and the bytes of an archive of odd members, sound as an archive."""
    names = [
        "a/b.txt", "c.txt", "../out.txt", "/fghash/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt",
        "a//b", "x" * 300, ".", "", "a/\udcff.txt", "con", "a\0b", " ", "a/b.txt/c",
    ]  # fmt: skip
    chosen = [draw.choice(names) for _ in range(draw.choice([1, 2, 4]))]
    content = draw.choice([b"", b"hello", b"\0" * 300_000])
    if draw.random() < 0.5:
        file = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            warnings.simplefilter("ignore")
            for name in chosen:
                info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode() or "e")
                if draw.random() < 0.2:
                    info.external_attr = 0o120777 << 16
                packed.writestr(info, content)
        return ".zip", file.getvalue()
    members = []
    for name in chosen:
        member = tarfile.TarInfo(name.replace("\0", ""))
        odd = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
        member.type = draw.choice([*[tarfile.REGTYPE] * 6, *odd])
        member.linkname = draw.choice(["/etc/passwd", "../../x", "c.txt"])
        members.append(member)
    suffix, mode = draw.choice([(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
    return suffix, tar_bytes(mode, members, content)


def test_archives(tmp_path, cases):
    """Everything or nothing, and all of it inside."""
    for seed in cases(60):
        draw = random.Random(seed)
        suffix, content = archives(draw)
        archive, folder = tmp_path / f"archive{suffix}", tmp_path / "there" / "inside"
        archive.write_bytes(content if draw.random() < 0.5 else mutated(draw, content))
        folder.mkdir(parents=True, exist_ok=True)
        outside = listed_outside(tmp_path, folder)
        signal.signal(signal.SIGALRM, hang)
        signal.alarm(SECONDS)
        found: list[str] = []
        try:
            with suppress(InputError):
                found = unpack(archive, folder, limit=1_000_000)
        finally:
            signal.alarm(0)
        assert sorted(path.name for path in folder.iterdir()) == found, "a part of it was left"
        assert listed_outside(tmp_path, folder) == outside
        assert not Path("/fghash").exists()
        for path in sorted(folder.rglob("*"), reverse=True):
            assert not path.is_symlink()
            path.rmdir() if path.is_dir() else path.unlink()
        archive.unlink()


def listed_outside(folder: Path, inside: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if inside not in path.parents)


def test_a_small_file_never_fills_the_memory(tmp_path):
    """A gigabyte and a half of zeros in an npz of a megabyte and a half; memory would show it."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("codes.npy", "w") as file:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (1500, 2**20)}
        )
        file.write(header.getvalue())
        for _ in range(1500):
            file.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"bytes that unpack to 1,572,8\d\d,\d\d\d, refused"):
        load_codes(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert path.stat().st_size < 4_000_000
