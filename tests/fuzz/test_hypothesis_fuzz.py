"""The same promises, with edits drawn by Hypothesis: a failure ends as the smallest edit that shows it.

``pytest tests/fuzz --fuzz 2000`` draws as many of each kind of file.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fghash.backbone.weights import read_weights
from fghash.codes import load_codes
from fghash.data.prepare.unpack import unpack
from fghash.replay import _failure
from fghash.settings.resolve import choose
from fghash.settings.sources import config_layer
from fghash.store.index import stored_runs
from fghash.store.upkeep import problems
from fghash.training.checkpoints import read_checkpoint
from fghash.training.model_files import load_model
from fuzz.test_file_fuzz import Bomb, guarded, packed
from store_fixtures import make_record, store

ODD = [b"{", b"\0" * 9, b"-1", b"1e999", b"\xff\xfe", b"../"]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.floats(0, 1), st.sampled_from(["cut", "insert", "replace", "flip", "repeat"]),
        st.one_of(st.binary(max_size=12), st.sampled_from(ODD)),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def edited(content: bytes, edits: Any) -> bytes:
    for first, second, kind, inserted in edits:
        a, b = sorted((int(first * len(content)), int(second * len(content))))
        middle = {
            "cut": b"", "insert": inserted + content[a:b], "replace": inserted,
            "flip": bytes(each ^ 0x55 for each in content[a : a + 3]) + content[a + 3 : b],
            "repeat": content[a:b] * 2,
        }[kind]  # fmt: skip
        content = content[:a] + middle + content[b:]
    return content


def archive(suffix: str) -> bytes:
    file = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(file, "w") as target:
            target.writestr("a/b.txt", "hello")
            target.writestr("c.txt", "there")
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w:gz" if suffix.endswith("gz") else "w") as target:
        for name in ("a/b.txt", "c.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5
            target.addfile(member, io.BytesIO(b"hello"))
    return file.getvalue()


def unpacked(path: Path) -> None:
    folder = path.parent / "inside"
    try:
        unpack(path, folder, limit=100_000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def tensors() -> bytes:
    from safetensors.torch import save

    return save({"a": torch.ones(3)})


def model(path: Path) -> None:
    save_file({"a": torch.ones(3)}, path.parent / "model.safetensors")
    try:
        load_model(path.parent)
    finally:
        (path.parent / "model.safetensors").unlink()


def weights(path: Path) -> None:
    read_weights(path, "--backbone.weights")


def config(path: Path) -> None:
    choose([config_layer(path.read_bytes().decode("latin-1"), "c.yaml")])


KEPT = {"state_dict": {"x": torch.ones(2)}, "epoch": 1}
FACTS = b'{"num_classes": 2, "class_names": ["a", "b"], "width": 3}'
FAILURE = {"step": 1, "epoch": 0, "batch": 1, "terms": {"loss": "nan"}, "items": [1], "names": ["a"]}
CONFIG = (
    b"method: {name: hashnet, alpha: 0.1}\ndata: {name: synthetic, families: 2}\nbits: 16\non_nan: skip 2\n"
)
FILES: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "codes": ("c.npz", lambda: npz(codes=np.eye(4, 8, dtype=np.uint8), labels=np.arange(4)), load_codes),
    "packed codes": (
        "c.npz",
        lambda: npz(codes_packed=np.zeros((4, 2), np.uint8), bits=np.int64(12), labels=np.arange(4)),
        load_codes,
    ),
    "checkpoint": ("last.ckpt", lambda: packed(KEPT), read_checkpoint),
    "hostile checkpoint": ("last.ckpt", lambda: packed({**KEPT, "b": Bomb()}), read_checkpoint),
    "weights": ("w.safetensors", tensors, weights),
    "hostile weights": ("w.pth", lambda: packed([Bomb()]), weights),
    "facts of a model": ("model.json", lambda: FACTS, model),
    "failure": ("failure.json", lambda: json.dumps(FAILURE).encode(), _failure),
    "checksums": ("checksums.json", lambda: b'{"codes/a.npz": "00"}', lambda path: problems(path.parent)),
    "config": ("c.yaml", lambda: CONFIG, config),
    "zip": ("a.zip", lambda: archive(".zip"), unpacked),
    "tar": ("a.tar", lambda: archive(".tar"), unpacked),
    "tar.gz": ("a.tar.gz", lambda: archive(".tar.gz"), unpacked),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FILES))
def test_edited_files_are_read_or_refused(kind, tmp_path, cases):
    name, make, read = FILES[kind]
    whole = make()

    @settings(
        max_examples=len(cases(25)), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(EDITS)
    def check(edits: Any) -> None:
        (tmp_path / name).write_bytes(edited(whole, edits))
        with guarded(tmp_path):
            read(tmp_path / name)

    check()


def test_edited_stores_are_listed(tmp_path, cases):
    """Records, markers and the index of a store."""
    runs = tmp_path / "runs"
    store(runs, make_record(seed=0), make_record(seed=1))
    stored_runs(runs)
    files = sorted(path for path in runs.rglob("*.json*") if path.is_file())
    whole = {path: path.read_bytes() for path in files}

    @settings(
        max_examples=len(cases(25)), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(files), EDITS)
    def check(path: Path, edits: Any) -> None:
        for each, content in whole.items():
            each.write_bytes(content)
        path.write_bytes(edited(whole[path], edits))
        for run in stored_runs(runs):
            assert all(record.method for record in run.records) or run.records

    check()
