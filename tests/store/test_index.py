from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fghash.store import RunFolder, SkippedRecord
from fghash.store import index as index_module
from fghash.store.index import NAME, StoredRun, stored_runs
from store_fixtures import make_record, store


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough to be indexed as soon as they are written."""
    monkeypatch.setattr(index_module, "_SETTLED", 0)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    records = [make_record(seed=seed, method=method) for seed in range(2) for method in ("hashnet", "dpq")]
    store(tmp_path, *records, replace(records[0], bits=16))
    return tmp_path


def without_index(runs: Path) -> list[StoredRun]:
    """What the folders themselves hold."""
    (runs / NAME).unlink(missing_ok=True)
    found = stored_runs(runs)
    (runs / NAME).unlink(missing_ok=True)
    return found


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose folders are read from here on."""
    read: list[str] = []
    original = index_module._read_run

    def counted(runs: Path, name: str) -> StoredRun:
        read.append(name)
        return original(runs, name)

    monkeypatch.setattr(index_module, "_read_run", counted)
    return read


def test_a_second_reading_opens_no_folder_and_finds_the_same(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stored_runs(runs)
    assert sorted(len(run.records) for run in first) == [1, 1, 1, 2]
    read = count_reads(monkeypatch)
    assert stored_runs(runs) == first
    assert read == []


def add_a_run(runs: Path) -> None:
    store(runs, make_record(method="fph"))


def remove_a_run(runs: Path) -> None:
    shutil.rmtree(next(runs.glob("*/dpq/*/*")))


def change_a_score(runs: Path) -> None:
    path = next(runs.glob("*/dpq/*/*/records/*.json"))
    path.write_text(path.read_text().replace("0.5", "0.7"))  # in place, of the same size


def change_it_without_a_new_time(runs: Path) -> None:
    path = next(runs.glob("*/dpq/*/*/records/*.json"))
    before = path.stat()
    path.write_text(path.read_text().replace("0.5", "0.7"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def damage_a_record(runs: Path) -> None:
    next(runs.glob("*/dpq/*/*/records/*.json")).write_text("{")


def delete_a_record(runs: Path) -> None:
    next(runs.glob("*/dpq/*/*/records/*.json")).unlink()


def withdraw_scores(runs: Path) -> None:
    RunFolder(next(runs.glob("*/dpq/*/*"))).withdraw()


def write_a_config(runs: Path) -> None:
    RunFolder(next(runs.glob("*/dpq/*/*"))).write_config("bits: 32\n")


CHANGES = [
    add_a_run, remove_a_run, change_a_score, change_it_without_a_new_time, damage_a_record, delete_a_record,
    withdraw_scores, write_a_config,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_a_folder_is_seen(runs: Path, change: Callable[[Path], None]) -> None:
    before = stored_runs(runs)
    change(runs)
    after = stored_runs(runs)
    assert after != before
    assert after == without_index(runs)


def test_only_the_changed_folder_is_read_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored_runs(runs)
    read = count_reads(monkeypatch)
    add_a_run(runs)
    stored_runs(runs)
    assert [name.split("/")[1] for name in read] == ["fph"]


def test_a_skipped_file_is_said_each_time(runs: Path) -> None:
    damage_a_record(runs)
    first = [run.skipped for run in stored_runs(runs)]
    assert sum(map(len, first)) == 1
    assert [run.skipped for run in stored_runs(runs)] == first


@pytest.mark.parametrize("position", range(0, 4000, 111))
def test_a_damaged_index_is_harmless(runs: Path, position: int) -> None:
    stored_runs(runs)
    expected = without_index(runs)
    stored_runs(runs)
    content = (runs / NAME).read_bytes()
    position %= len(content)
    for damaged in (
        content[:position],
        content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :],
        content[:position] + b"\n" + content[position:],
        content[position:],
    ):
        (runs / NAME).write_bytes(damaged)
        assert stored_runs(runs) == expected
        assert stored_runs(runs) == expected


@pytest.mark.parametrize(
    "content", [b"", b"\n\n\n", b"\xff" * 99, b"fghash index 0\nx", b"0" * 8 + b" a\t{}"]
)
def test_another_file_of_that_name_is_replaced(runs: Path, content: bytes) -> None:
    (runs / NAME).write_bytes(content)
    assert stored_runs(runs) == without_index(runs)


def test_a_folder_or_a_pipe_in_its_place_is_left_alone(runs: Path) -> None:
    expected = without_index(runs)
    (runs / NAME).mkdir()
    assert stored_runs(runs) == expected
    (runs / NAME).rmdir()
    os.mkfifo(runs / NAME)
    assert stored_runs(runs) == expected


def test_files_that_have_just_been_written_are_not_indexed_yet(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_SETTLED", 10**15)
    stored_runs(runs)
    read = count_reads(monkeypatch)
    assert len(stored_runs(runs)) == len(read) == 4


def test_a_name_that_is_not_utf_8_and_one_with_a_tab_are_read(runs: Path) -> None:
    for name in (os.fsdecode(b"\xe9"), "a\tb", "a\nb"):
        shutil.copytree(next(runs.glob("synthetic")), runs / name)
    expected = without_index(runs)
    assert len(expected) == 16
    assert stored_runs(runs) == expected
    assert stored_runs(runs) == expected


def test_pipes_among_the_records_do_not_stop_the_reader(runs: Path) -> None:
    path = next(runs.glob("*/dpq/*/*/records/*.json"))
    path.unlink()
    os.mkfifo(path)
    os.mkfifo(path.parents[1] / "config.yaml")
    assert sum(len(run.skipped) for run in stored_runs(runs)) == 1


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from fghash.store import index
from store_fixtures import make_record, store
index._SETTLED = 0
for seed in range(20):
    store(Path(sys.argv[1]), make_record(seed=seed, method=sys.argv[2]))
    index.stored_runs(Path(sys.argv[1]))
"""


def test_two_processes_write_it_at_once(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    writers = [subprocess.Popen([*command, method, tests]) for method in ("hashnet", "dpq")]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = stored_runs(tmp_path)
    assert len(found) == 40
    assert found == without_index(tmp_path)


def test_the_settings_of_an_attack_are_no_config(tmp_path: Path) -> None:
    store(tmp_path, make_record())
    bomb = "a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a,*a,*a]\n" for i in range(9))
    for text in (
        bomb,
        "[" * 200_000,
        "- " * 90_000,
        "\x00",
        "a: !!python/object:os.system {}",
        "a: 2020-99-99",
    ):
        RunFolder(next(tmp_path.glob("*/*/*/*"))).write_config(text)
        (run,) = stored_runs(tmp_path)
        assert (run.config, len(run.records)) == (None, 1)


def test_a_record_of_the_first_version_takes_preset_and_budget_from_the_config(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "report" / "old_store", tmp_path / "runs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SkippedRecord)
        found = stored_runs(tmp_path / "runs")
    record = found[0].records[0]
    assert (record.preset, record.epochs, record.image_passes, record.batch_size) == ("default", 2, None, 20)
