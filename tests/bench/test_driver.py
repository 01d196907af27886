"""A plan carried out by an executor that only pretends: nothing is lost, doubled or run in vain."""

import json
from dataclasses import replace

import pytest

from fghash.bench.driver import Driver, job_of
from fghash.bench.ledger import FAILED, FINISHED, REFUSED, Ledger, State
from fghash.bench.live import Lines, lines
from fghash.bench.outputs import require_writable, write_outputs
from fghash.bench.plan import Plan
from fghash.bench.table import read_table
from fghash.errors import InputError
from fghash.store.lock import locked
from store_fixtures import PROTOCOL, make_record, store

TEXT = "common: {data: synthetic}\naxes:\n  method: [hashnet, dpq]\n  bits: [16, 32]\n  seed: [0, 1]\n"


class Pretender:
    """Ends every cell at once, as ``how`` says of its name; stores a record of what it finishes."""

    def __init__(self, runs, how=lambda _: "finished", slots=1):
        self.runs, self.how, self.slots = runs, how, slots
        self.jobs, self._events, self.closed = [], [], False

    def start(self, jobs):
        for job in jobs:
            self.start_one(job)

    def start_one(self, job):
        settings = job["settings"]
        method, bits, seed = settings["method"]["name"], settings["bits"], settings["seed"]
        self.jobs.append((method, bits, seed))
        event = self.how((method, bits, seed, len(self.jobs)))
        if event != "finished":
            self._events.append({"event": event, "id": job["id"], "error": "so it is", "seconds": 0.1})
            return
        run = self.finish(method, bits, seed)
        lengths = [8, 16, 24, 32] if method == "dpq" else [bits]
        self._events.append({
            "event": event, "id": job["id"], "run": run, "protocol": PROTOCOL, "lengths": lengths,
            "map": 0.5, "seconds": 2.0, "trained": True,
        })  # fmt: skip

    def finish(self, method, bits, seed):
        lengths = [8, 16, 24, 32] if method == "dpq" else [bits]
        record = make_record(method=method, bits=bits, trained_bits=bits, seed=seed, variant=str(bits))
        store(self.runs, *(replace(record, bits=each) for each in lengths))
        return f"synthetic/{method}/{bits}/{record.run}"

    def wait(self, seconds):
        events, self._events = self._events, []
        return events

    def close(self):
        self.closed = True


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(TEXT)
    return read_table(path, {})


def plan_of(grid, tmp_path, **options):
    return Plan.of(grid, Ledger(tmp_path / "runs"), **options)


def run(plan, executor, capsys=None):
    Driver(plan, executor, Lines(plan)).run()
    return plan


def test_every_cell_once_and_a_second_call_does_nothing(grid, tmp_path, capsys):
    executor = Pretender(tmp_path / "runs")
    run(plan_of(grid, tmp_path), executor)
    assert sorted(executor.jobs) == [
        ("dpq", 32, 0), ("dpq", 32, 1), ("hashnet", 16, 0), ("hashnet", 16, 1), ("hashnet", 32, 0),
        ("hashnet", 32, 1),
    ]  # fmt: skip
    assert executor.closed
    assert "[8/8] dpq bits=32 seed=1: map 0.5000 (2 s)" in capsys.readouterr().out
    again = plan_of(grid, tmp_path)
    assert again.missing() == []
    assert again.counts() == {"finished": 6, "covered": 2}
    assert len(again.runs()) == 6


def test_deleting_a_run_runs_only_it(grid, tmp_path):
    executor = Pretender(tmp_path / "runs")
    plan = run(plan_of(grid, tmp_path), executor)
    gone = next(each for each in plan.cells if each.cell.shown == "hashnet bits=32 seed=1")
    for path in sorted((tmp_path / "runs" / gone.run).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    executor.jobs.clear()
    run(plan_of(grid, tmp_path), executor)
    assert executor.jobs == [("hashnet", 32, 1)]


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 99}'])
@pytest.mark.filterwarnings("ignore::fghash.store.record.SkippedRecord")
def test_a_damaged_record_is_run_again_and_foreign_files_are_left_alone(grid, tmp_path, damage):
    executor = Pretender(tmp_path / "runs")
    plan = run(plan_of(grid, tmp_path), executor)
    broken = next(each for each in plan.cells if each.cell.shown == "hashnet bits=16 seed=0")
    (record,) = (tmp_path / "runs" / broken.run / "records").iterdir()
    record.write_text(damage)
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    store(tmp_path / "runs", make_record(method="triplet", protocol="fghash-1@5", seed=9))
    assert [each.cell.shown for each in plan_of(grid, tmp_path).missing()] == ["hashnet bits=16 seed=0"]
    executor.jobs.clear()
    run(plan_of(grid, tmp_path), executor)
    assert executor.jobs == [("hashnet", 16, 0)]
    assert (tmp_path / "runs" / "notes.txt").read_text() == "mine"


def test_a_shorter_length_is_trained_if_the_longer_training_failed(grid, tmp_path):
    executor = Pretender(tmp_path / "runs", lambda job: "failed" if job[:2] == ("dpq", 32) else "finished")
    plan = run(plan_of(grid, tmp_path), executor)
    assert ("dpq", 16, 0) in executor.jobs
    assert plan.counts() == {"finished": 6, "failed": 2}


def test_failed_cells_are_kept_and_run_again_on_request(grid, tmp_path, capsys):
    executor = Pretender(tmp_path / "runs", lambda job: "failed" if job[0] == "hashnet" else "finished")
    run(plan_of(grid, tmp_path), executor)
    assert "hashnet bits=16 seed=0: failed: so it is" in capsys.readouterr().out
    assert plan_of(grid, tmp_path).missing() == []
    assert len(plan_of(grid, tmp_path, retry_failed=True).missing()) == 4
    good = Pretender(tmp_path / "runs")
    assert run(plan_of(grid, tmp_path, retry_failed=True), good).counts() == {"finished": 6, "covered": 2}
    assert len(good.jobs) == 4


def test_a_refused_length_is_no_failure(grid, tmp_path):
    executor = Pretender(tmp_path / "runs", lambda job: "refused" if job[1] == 16 else "finished")
    plan = run(plan_of(grid, tmp_path), executor)
    assert plan.counts() == {"finished": 4, "refused": 2, "covered": 2}
    assert plan_of(grid, tmp_path).missing() == []


def test_a_cell_that_another_process_trains_waits(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("fghash.bench.driver._BUSY_SECONDS", 0.01)
    executor = Pretender(tmp_path / "runs", lambda job: "busy" if job[-1] < 3 else "finished")
    assert run(plan_of(grid, tmp_path), executor).counts() == {"finished": 6, "covered": 2}


def test_one_driver_a_table(grid, tmp_path):
    with (
        locked(tmp_path / "runs" / ".bench" / "grid.lock"),
        pytest.raises(InputError, match=r"'grid' is being run already .*--status"),
    ):
        run(plan_of(grid, tmp_path), Pretender(tmp_path / "runs"))


def test_the_time_left_is_that_of_earlier_cells(grid, tmp_path):
    plan = plan_of(grid, tmp_path)
    assert plan.seconds(plan.cells) is None
    assert "unknown: no cell has finished yet" in list(lines(plan))[-1]
    plan.ledger.write("0" * 16, State(FINISHED, "x", "hashnet", seconds=10.0))
    plan.ledger.write("1" * 16, State(FINISHED, "y", "hashnet", seconds=20.0))
    assert plan.seconds(plan.cells) == 8 * 15.0  # of dpq nothing is known: the mean over all


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"status": "finished"}', "\0\xff", json.dumps({"status": "finished", "run": "../.."})],
)
def test_a_damaged_state_counts_as_none(grid, tmp_path, damage):
    plan = plan_of(grid, tmp_path)
    name = plan.cells[0].name
    plan.ledger.write(name, State(FAILED, "x", "hashnet"))
    path = tmp_path / "runs" / ".bench" / "cells" / f"{name}.json"
    path.write_text(damage, encoding="latin-1")
    assert plan.ledger.read(name) is None
    assert plan.ledger.all_states() == []


def test_a_state_that_points_outside_the_store_counts_as_none(grid, tmp_path):
    plan = plan_of(grid, tmp_path)
    record = make_record()
    store(tmp_path / "elsewhere", record)
    outside = f"../elsewhere/synthetic/hashnet/32/{record.run}"
    plan.ledger.write("0" * 16, State(FINISHED, "x", "hashnet", run=outside, protocol=PROTOCOL))
    assert plan.ledger.read("0" * 16) is None


def test_a_job_is_plain_json_with_its_settings(grid, tmp_path):
    plan = plan_of(grid, tmp_path)
    job = json.loads(json.dumps(job_of(plan.cells[0], plan)))
    assert job["settings"]["method"] == {"name": "hashnet"}
    assert job["settings"]["trainer"] == {"enable_progress_bar": False}


def test_outputs_name_what_is_missing_and_are_written_once(grid, tmp_path):
    executor = Pretender(
        tmp_path / "runs", lambda job: "failed" if job == ("hashnet", 16, 1, 4) else "finished"
    )
    plan = run(plan_of(grid, tmp_path), executor)
    assert plan.counts()[FAILED] + plan.counts()[REFUSED] == 1
    files = write_outputs(plan, tmp_path / "out")
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "Not in the table:\n\n- hashnet bits=16 seed=1: failed: so it is" in text
    assert "dpq" in text
    rows = (tmp_path / "out" / "leaderboard.csv").read_text().splitlines()
    assert len(rows) == 1 + 4  # each method at 16 and 32 bits; of dpq's 8 and 24 bits nobody asked
    times = [path.stat().st_mtime_ns for path in files]
    write_outputs(plan_of(grid, tmp_path), tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in files] == times


def test_a_table_in_which_every_cell_failed(grid, tmp_path):
    plan = run(plan_of(grid, tmp_path), Pretender(tmp_path / "runs", lambda _: "failed"))
    write_outputs(plan, tmp_path / "out")
    assert "no finished run" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_an_out_folder_that_is_a_file(grid, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        require_writable(tmp_path / "out")
