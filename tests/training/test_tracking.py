"""Tracking: the CSV always, W&B offline without a key, and a second run that fails on nothing."""

import csv

import pytest

from fghash.settings.config import TrackingConfig
from fghash.training.tracking import build_loggers, log_config, log_scores

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


def follow(names, folder):
    loggers = build_loggers(TrackingConfig(name=names), folder, "hashnet-synthetic-16-0", "0123456789abcdef")
    log_config(loggers, {"bits": 16, "method": {"name": "hashnet"}})
    for logger in loggers:
        logger.log_metrics({"train/loss": 1.0}, step=1)
    log_scores(loggers, ROWS)
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


def test_a_known_key_means_online_unless_told_otherwise(monkeypatch):
    from fghash.training.tracking import _offline

    assert _offline(None)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert not _offline(None)
    assert _offline(True)
    assert not _offline(False)
