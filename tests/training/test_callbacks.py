"""What watches a training."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from fghash.training.callbacks import Budget, ScoredBudgets


def validated(spent, batches, score, callback, epochs=4, per_epoch=10):
    """A validation after so many batches."""
    spent.batches = batches
    trainer = SimpleNamespace(
        num_training_batches=per_epoch, max_epochs=epochs, sanity_checking=False,
        callback_metrics={"val/map": torch.tensor(score)},
    )  # fmt: skip
    callback.on_validation_end(trainer, None)


def test_scores_are_kept_at_the_first_validation_at_or_behind_a_part():
    spent = Budget()
    callback = ScoredBudgets((0.25, 0.5, 0.6, 1.0), spent, batch_size=8)
    for batches, score in ((10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)):
        validated(spent, batches, score, callback)
    kept = [(point["part"], point["image_passes"], round(point["val_map"], 3)) for point in callback.points]
    assert kept == [(0.25, 80, 0.1), (0.5, 160, 0.2), (0.6, 240, 0.3), (1.0, 320, 0.4)]


def test_a_resumed_training_keeps_the_scores_on_the_way():
    spent = Budget()
    first, second = (ScoredBudgets((0.25, 1.0), spent, batch_size=8) for _ in range(2))
    validated(spent, 10, 0.1, first)
    second.load_state_dict(first.state_dict())
    validated(spent, 20, 0.2, second)
    validated(spent, 40, 0.4, second)
    assert [point["image_passes"] for point in second.points] == [80, 320]
