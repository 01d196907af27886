"""What watches a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fghash.errors import InputError
from fghash.training.callbacks import StopOnNonFinite


def after_epoch(loss: float, automatic: bool = True) -> None:
    trainer = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(loss)}, current_epoch=3)
    StopOnNonFinite().on_train_epoch_end(trainer, SimpleNamespace(automatic_optimization=automatic))


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    after_epoch(1e30)
    with pytest.raises(InputError, match=r"nan after epoch 3 .* lower --optim\.lr or set --trainer.gradient"):
        after_epoch(float("nan"))


def test_clipping_is_not_advised_where_lightning_refuses_it() -> None:
    with pytest.raises(InputError, match=r"inf after epoch 3 .*: lower --optim\.lr$"):
        after_epoch(float("inf"), automatic=False)
