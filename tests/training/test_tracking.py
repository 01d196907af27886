"""Tracking: the CSV always, W&B offline without a key, and a second run that fails on nothing."""

import csv
import json
import struct

import numpy as np
import pytest

from fghash.cli import main
from fghash.settings.config import TrackingConfig
from fghash.store import RunFolder
from fghash.training.tracking import (
    Followed,
    Memory,
    Retrieval,
    build_loggers,
    finish,
    log_artifacts,
    log_config,
    log_curve,
    log_retrievals,
    log_scores,
)
from store_fixtures import make_record, store

ROWS = [
    {"map": 0.5, "map_at_10": None, "n_queries": 3, "gallery_codes": "network"},
    {"map": 0.6, "map_at_10": None, "n_queries": 3, "gallery_codes": "learned"},
]


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without a W&B key."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def followed(folder):
    return Followed(folder, "0123456789abcdef", "hashnet-synthetic-16-0", ("hashnet",))


def follow(names, folder):
    loggers = build_loggers(TrackingConfig(name=names), followed(folder))
    log_config(loggers, {"bits": 16, "method": {"name": "hashnet"}})
    for logger in loggers:
        logger.log_metrics({"train/loss": 1.0}, step=1)
    log_scores(loggers, ROWS)
    finish(loggers)
    return loggers


def test_the_csv_is_always_written(tmp_path):
    follow((), tmp_path)
    (path,) = tmp_path.glob("logs/*/metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["train/loss"] == "1.0" for row in rows)
    assert any(row["test/map"] == "0.5" for row in rows)


def test_wandb_is_offline_without_a_key_and_tensorboard_beside_it_and_both_run_twice(tmp_path):
    for attempt in (1, 2):
        follow(("wandb", "tensorboard"), tmp_path)
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == attempt
        assert len(list(tmp_path.glob("tensorboard/*/events*"))) >= attempt


def values_of(items):
    """Items of a record as plain values by key."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def records_of(path):
    """The records of a ``.wandb`` file: LevelDB's log format, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # no record's header fits the rest of a block
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def stored(folder):
    """What the offline client wrote of each attempt: runs, history, summary, config, artifacts."""
    found = {"runs": [], "history": [], "summary": {}, "config": {}, "artifacts": []}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in records_of(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found["runs"].append(record.run)
                found["config"] |= values_of(record.run.config.update)
            elif kind == "config":
                found["config"] |= values_of(record.config.update)
            elif kind == "history":
                found["history"].append(values_of(record.history.item))
            elif kind == "summary":
                found["summary"] |= values_of(record.summary.update)
            elif kind == "artifact":
                found["artifacts"].append((record.artifact.type, record.artifact.name))
    found["ids"] = [run.run_id for run in found["runs"]]
    return found


def attempt(folder, steps, killed):
    """A training that logs these steps, and is killed or ends."""
    loggers = build_loggers(TrackingConfig(name=("wandb",), group="table"), followed(folder))
    log_config(loggers, {"bits": 16, "method": {"name": "hashnet"}})
    for step in steps:
        for logger in loggers[1:]:
            logger.log_metrics(
                {"train/loss": 1.0 / (step + 1), "val/map": 0.9 if step == 1 else 0.1}, step=step
            )
    if killed:
        loggers[1].experiment.finish()  # the client flushes what it has; the run is not finished for us
        return
    log_scores(loggers, ROWS)
    log_curve(loggers, {name: np.array([1.0, 0.5]) for name in ("n", "precision", "recall")})
    image = np.zeros((4, 4, 3), np.uint8)
    log_retrievals(loggers, [Retrieval(image, "a", [image, image], ["a", "b"])])
    (folder / "codes" / "16-network").mkdir(parents=True)
    (folder / "codes" / "16-network" / "gallery.npz").write_bytes(b"codes")
    log_artifacts(loggers, followed(folder), {"fingerprint": "f00"})
    finish(loggers)


def test_a_killed_run_goes_on_under_its_id_without_doubled_steps(tmp_path):
    attempt(tmp_path, [0, 1, 2], killed=True)
    attempt(tmp_path, [1, 2, 3, 4], killed=False)
    found = stored(tmp_path)
    assert set(found["ids"]) == {"0123456789abcdef"}
    steps = [row["trainer/global_step"] for row in found["history"] if "train/loss" in row]
    assert steps == [0, 1, 2, 3, 4]
    assert found["summary"]["test/map"] == 0.5
    assert found["summary"]["val/map_max"] == 0.9
    assert found["config"]["method"] == {"name": "hashnet"}
    run = found["runs"][-1]
    assert (run.run_group, run.job_type, list(run.tags)) == ("table", "fit", ["hashnet"])
    assert {kind for kind, _ in found["artifacts"]} >= {"dataset", "codes"}
    assert any("retrievals._type" in row for row in found["history"])
    assert any("curve._type" in row for row in found["history"])


def test_a_run_that_is_forced_again_is_another_run_of_wandb(tmp_path):
    follow(("wandb",), tmp_path)
    follow(("wandb",), tmp_path)
    assert set(stored(tmp_path)["ids"]) == {"0123456789abcdef", "0123456789abcdef-2"}


def test_a_damaged_memory_is_none(tmp_path):
    for damage in ("", "{", "[]", '{"bogus": 1}'):
        (tmp_path / "tracking.json").write_text(damage)
        assert Memory.read(tmp_path) == Memory()


def test_sync_tells_what_the_csv_of_all_attempts_knows(tmp_path, capsys):
    record = make_record()
    store(tmp_path, record)
    folder = RunFolder.at(tmp_path, record.data, record.method, 32, record.run)
    folder.write_config("method: {name: hashnet, alpha: 0.1}\nbits: 32\n")
    for i, lines in enumerate((["0.9,,0", "0.8,,9"], ["0.8,,9", ",0.3,9", "0.7,,19", ",,x"])):
        path = folder.path / "logs" / f"version_{i}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text("train/loss,val/map,step\n" + "\n".join(lines) + "\n")
    assert main(["sync", str(tmp_path), "--offline", "--group", "later"]) == 0
    assert "uploaded: 1 runs" in capsys.readouterr().out
    found = stored(folder.path)
    assert set(found["ids"]) == {record.run}
    losses = {
        row["trainer/global_step"]: row["train/loss"] for row in found["history"] if "train/loss" in row
    }
    assert losses == {0: 0.9, 9: 0.8, 19: 0.7}
    assert found["summary"]["test/map"] == 0.5
    assert found["summary"]["val/map_max"] == 0.3
    assert found["config"]["method"] == {"name": "hashnet", "alpha": 0.1}
    assert main(["sync", str(tmp_path), "--offline"]) == 0
    assert "nothing to upload" in capsys.readouterr().out


def test_sync_without_a_key_or_a_store(tmp_path, capsys):
    assert main(["sync", str(tmp_path)]) == 2
    assert "knows no key here, expected wandb login, or --offline" in capsys.readouterr().err
    assert main(["sync", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_known_key_means_online_unless_told_otherwise(monkeypatch):
    from fghash.training.tracking import _offline

    assert _offline(None)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert not _offline(None)
    assert _offline(True)
    assert not _offline(False)
