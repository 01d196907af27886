from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fghash.codes import BinaryCodes, RealCodes
from fghash.errors import InputError
from fghash.files import NoLocks
from fghash.store import Record, RunFolder, SkippedRecord, environment, require_writable, run_folders
from fghash.store.lock import LockedError, locked
from fghash.store.provenance import source_commit
from fghash.store.record import BUDGET, DATA_COUNTS
from fghash.store.writing import replacing, write_text
from store_fixtures import make_record

PROTOCOL = "fghash-1@1,10,100"


def folder_of(runs: Path, record: Record) -> RunFolder:
    return RunFolder.at(runs, record.data, record.method, record.bits, record.run)


def test_the_folder_of_a_run_is_data_method_bits_and_id(tmp_path: Path) -> None:
    assert (
        RunFolder.at(tmp_path, "cub200", "dpq", 32, "abc").path == tmp_path / "cub200" / "dpq" / "32" / "abc"
    )


def test_a_record_shows_only_once_its_protocol_is_finished(tmp_path: Path) -> None:
    record = make_record()
    folder = folder_of(tmp_path, record)
    folder.write_record(record)
    assert folder.records() == []
    assert not folder.is_finished(PROTOCOL)
    assert list(run_folders(tmp_path)) == []
    folder.finish(PROTOCOL)
    assert folder.records() == [record]
    assert folder.is_finished(PROTOCOL)
    assert not folder.is_finished("fghash-1@5")
    assert list(run_folders(tmp_path)) == [folder]


def test_finishing_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no record of 'fghash-1@5'"):
        RunFolder(tmp_path).finish("fghash-1@5")


def test_one_folder_holds_several_lengths_galleries_and_protocols(tmp_path: Path) -> None:
    record = make_record(method="dpq", trained_bits=32)
    records = [record, replace(record, bits=16), replace(record, gallery_codes="learned")]
    other = replace(record, protocol="fghash-1@5")
    folder = folder_of(tmp_path, record)
    for each in (*records, other):
        folder.write_record(each)
    folder.finish(PROTOCOL)
    assert sorted(folder.records(), key=repr) == sorted(records, key=repr)
    folder.finish("fghash-1@5")
    assert folder.records("fghash-1@5") == [other]
    assert len(folder.records()) == 4


def test_clear_forgets_everything_but_the_lock(tmp_path: Path) -> None:
    record = make_record()
    folder = folder_of(tmp_path, record)
    with folder.lock():
        folder.write_record(record)
        folder.write_config("bits: 32\n")
        folder.finish(PROTOCOL)
        folder.clear()
        assert [path.name for path in folder.path.iterdir()] == ["lock"]
        with pytest.raises(InputError, match=f"is being written by process {os.getpid()} on"), folder.lock():
            pass


def test_config_and_provenance_round_trip(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_config("method: hashnet\n")
    folder.write_provenance({"processes": 2, "started": "now"})
    assert folder.read_config() == "method: hashnet\n"
    assert folder.read_provenance() == {"processes": 2, "started": "now"}


def test_a_folder_that_is_no_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.yaml"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(InputError, match=r"has no provenance\.json"):
        RunFolder(tmp_path).read_provenance()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"protocol": 1, "records": []}', '{"protocol": "p"}', "\0"])
def test_a_corrupt_marker_is_skipped_with_a_warning(tmp_path: Path, text: str) -> None:
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished" / "p.json").write_text(text)
    with pytest.warns(SkippedRecord, match="not a marker"):
        assert RunFolder(tmp_path).records() == []


ABSURD = [
    "",
    "{",
    "[]",
    "{}",
    '{"data": "x"}',
    "\xff",
    "[" * 100_000,
    '{"schema": 3}',
    " " * 4_000_001,
    "9" * 5000,
]


@pytest.mark.parametrize("text", ABSURD, ids=range(len(ABSURD)))
def test_a_corrupt_record_is_skipped_with_a_warning(tmp_path: Path, text: str) -> None:
    record = make_record()
    folder = folder_of(tmp_path, record)
    folder.write_record(record)
    folder.finish(PROTOCOL)
    next((folder.path / "records").iterdir()).write_text(text, encoding="latin-1")
    with pytest.warns(SkippedRecord, match="skipped"):
        assert folder.records() == []


def test_a_copied_folder_does_not_count_twice(tmp_path: Path) -> None:
    record = make_record()
    copy = RunFolder.at(tmp_path, record.data, record.method, record.bits, "copy")
    copy.write_record(record)
    copy.finish(PROTOCOL)
    with pytest.warns(SkippedRecord, match=record.run):
        assert copy.records() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bits", "32"),
        ("bits", True),
        ("data", 1),
        ("scores", []),
        ("scores", {"map": "x"}),
        ("scores", {"map": True}),
        ("scores", {"map": 10**30}),
        ("scores", {"map": -1e300}),
        ("scores", {"method": 0.5}),
        ("scores", {"n_queries": 1.5}),
        ("scores", {"map\ud800": 0.5}),
        ("scores", {"\u00b2": 0.5}),
        ("seed", 2**63),
        ("epochs", 1.5),
        ("stopped_by_time", 1),
        ("train_seconds", "1"),
    ],
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    values = json.loads(make_record().to_json()) | {name: value}
    with pytest.raises(InputError, match=f"field '{name}'"):
        Record.from_json(json.dumps(values))


def test_a_nan_score_is_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="JSON"):
        make_record(map=float("nan")).to_json()
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(InputError, match=r"scores|NaN|Infinity"):
            Record.from_json(make_record(map=0.5).to_json().replace("0.5", word))


def test_record_round_trip_keeps_undefined_scores() -> None:
    record = make_record(map=None, n_queries=3)
    assert Record.from_json(record.to_json()) == record


def test_a_record_of_the_first_version_has_no_budget() -> None:
    values = json.loads(make_record(epochs=3, preset="faithful").to_json())
    added = ("schema", "preset", *BUDGET, *DATA_COUNTS)
    old = {name: value for name, value in values.items() if name not in added}
    record = Record.from_json(json.dumps(old))
    assert (record.preset, record.epochs, record.stopped_by_time, record.scores["map"]) == (
        "",
        None,
        None,
        0.5,
    )
    assert Record.from_json(record.to_json()) == record  # as one of this version, after rescoring


def test_a_record_of_a_later_version_is_said_to_be_one() -> None:
    text = make_record().to_json().replace('"schema": 3', '"schema": 7')
    with pytest.raises(InputError, match="schema: 7, expected 1 to 3"):
        Record.from_json(text)


def test_names_of_items_come_back_exactly_also_if_they_are_not_utf_8(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    names = ["a/1.png", "caf\u00e9/\u9ce5.png", os.fsdecode(b"\xe9t\xe9/2.png"), "new\nline.png", 'q".png']
    folder.write_items("gallery", names)
    folder.write_items("queries", [])
    assert folder.read_items("gallery") == names
    assert [os.fsencode(name) for name in folder.read_items("gallery") or ()][2] == b"\xe9t\xe9/2.png"
    assert folder.read_items("queries") == []
    assert folder.read_items("training") is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\xff", "[" * 100_000], ids=range(5))
def test_damaged_names_of_items_are_an_input_error(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_items("gallery", ["a"])
    (tmp_path / "items" / "gallery.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"gallery\.json"):
        folder.read_items("gallery")


def test_real_embeddings_come_back_with_labels_and_similarity(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    folder.write_embeddings("gallery", RealCodes(vectors, "l2"), np.arange(5))
    read = folder.read_embeddings("gallery")
    assert read is not None
    assert np.array_equal(read[0].vectors, vectors)
    assert (read[0].similarity, read[1].tolist()) == ("l2", [0, 1, 2, 3, 4])
    assert folder.read_embeddings("queries") is None


def test_codes_in_the_place_of_embeddings_are_an_input_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    codes = BinaryCodes(np.zeros((2, 8), bool))
    folder.write_embeddings("gallery", codes, np.arange(2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="BinaryCodes, expected real embeddings"):
        folder.read_embeddings("gallery")


@pytest.mark.parametrize(
    "name", ["folder:cars", "../../up", "a/b", "", ".", "..", "x" * 500, "\ud800", "a\0b", "\u9ce5"]
)
def test_any_name_of_a_data_set_gives_a_folder_below_the_store(tmp_path: Path, name: str) -> None:
    record = make_record(data=name)
    folder = RunFolder.at(tmp_path, name, "hashnet", 32, record.run)
    folder.write_record(record)
    folder.finish(PROTOCOL)
    assert folder.path.parents[3].resolve() == tmp_path.resolve()
    assert folder.path.parts[-4] not in ("", ".", "..")
    assert list(run_folders(tmp_path)) == [folder]
    assert folder.records() == [record]


def _fail_halfway(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        _fail_halfway(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_half_written_is_not_read(tmp_path: Path) -> None:
    record = make_record()
    folder = folder_of(tmp_path, record)
    folder.write_record(record)
    (folder.path / "records" / ".32-network-p.7.tmp.json").write_text("{")
    folder.finish(PROTOCOL)
    assert folder.records() == [record]


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match="runs: cannot write"):
        require_writable(file / "runs")
    with pytest.raises(InputError, match="runs: cannot write"), locked(file / "runs" / "lock"):
        pass
    require_writable(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    require_writable(tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_no_store_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs: no such folder"):
        list(run_folders(tmp_path / "none"))


HOLD = """
import sys, time
from pathlib import Path
from fghash.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
TAKE = """
import sys
from pathlib import Path
from fghash.store.lock import locked
with locked(Path(sys.argv[1])):
    pass
"""


def test_a_second_process_is_told_who_holds_the_run_until_that_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"is being written by process {holder.pid} on"), locked(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(path):
        assert f"process {os.getpid()}" in path.read_text()
    with locked(path):
        pass


def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    fork = multiprocessing.get_context("fork")
    with locked(path):
        worker = fork.Process(target=time.sleep, args=(60,))
        worker.start()
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(path)], check=False, capture_output=True, text=True
    )
    worker.kill()
    worker.join()
    assert done.returncode == 0, done.stderr


FORK = """
import multiprocessing, os, sys, time
from pathlib import Path
from fghash.store.lock import locked

def work():
    print(os.getpid(), flush=True)
    time.sleep(60)

with locked(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=work).start()
    time.sleep(60)
"""


def test_the_worker_of_a_killed_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        with locked(path):
            os.kill(worker, signal.SIGKILL)


def test_environment_names_versions_and_machine() -> None:
    found = environment({"torch": "9.9", "numpy": "2.4"})
    assert list(found["versions"]) == ["numpy", "torch"]
    assert found["python"].startswith("3.")
    assert found["cpu"]


def test_a_package_inside_a_foreign_checkout_has_no_commit(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "__init__.py").write_text("")
    assert source_commit(tmp_path) is None
    subprocess.run([*git, "add", "__init__.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    commit = source_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "__init__.py").write_text("changed")
    assert source_commit(tmp_path) == f"{commit}+"


def test_scores_on_the_way_come_back_and_damage_is_none(tmp_path):
    folder = RunFolder(tmp_path)
    points = [{"part": 0.5, "image_passes": 80.0, "seconds": 1.5, "val_map": 0.25}]
    folder.write_budgets(points)
    assert folder.read_budgets() == points
    for damage in ("", "{", "[1]", '[{"part": 1}]', "null"):
        (tmp_path / "budgets.json").write_text(damage)
        assert folder.read_budgets() == []


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as an NFS mounted without its lock service."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    monkeypatch.setattr("fghash.files.LEASE", 0.6)


def lease_of(path: Path) -> Path:
    (lease,) = (each for each in path.parent.iterdir() if each.name.startswith("lock.lease"))
    return lease


@pytest.mark.filterwarnings("ignore::fghash.files.NoLocks")
def test_without_locks_a_lease_keeps_others_out(without_locks: None, tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with locked(path):
        assert lease_of(path).is_file()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"), locked(path):
            pass
    with pytest.warns(NoLocks, match="has none, a lease serves"), locked(path):
        pass


@pytest.mark.filterwarnings("ignore::fghash.files.NoLocks")
def test_the_lease_of_a_dead_process_is_taken_over(without_locks: None, tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with locked(path):
        lease = lease_of(path)
        left = lease.read_bytes()
    lease.write_bytes(left)  # as a machine that went down left it
    with locked(path):
        assert lease_of(path).is_file()


def test_the_lock_of_another_machine_names_it_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with locked(path):
        path.write_text("process 7 on node12 since 2026-01-01T00:00:00+00:00")
        said = "process 7 on node12 since .* \\(if that machine is down, delete '.*lock'\\)"
        with pytest.raises(LockedError, match=said), locked(path):
            pass
