"""What the loop over steps is to the other methods: one pass that reads features, then one fit."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from fghash.batch import Batch
from fghash.codes import RealCodes
from fghash.data.datamodule import RetrievalDataModule
from fghash.encoding import assemble, gathered
from fghash.methods.base import Encoded, HashingMethod


def fit_closed_form(trainer: pl.Trainer, method: HashingMethod, data: RetrievalDataModule) -> None:
    """Fit the method to the features of all training items, and score it on the validation split, if any.

    The features are read on all of the trainer's processes, from the feature cache where there is one; the
    first process fits, the others get its state. ``Trainer.fit`` has no part in it.
    """
    data.trainer = trainer
    parts: Any = trainer.predict(_Reader(method), dataloaders=data.train_eval_dataloader())
    features = assemble(gathered(parts), len(data.train_items))
    if trainer.is_global_zero:
        vectors: Any = features.codes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.initial_seed())  # whatever was drawn before, on however many processes
            method.fit_closed_form(torch.from_numpy(vectors.vectors), torch.from_numpy(features.labels))
    _share(method)
    if data.validation:
        trainer.validate(method, datamodule=data, verbose=False)


def _share(method: HashingMethod) -> None:
    """The state of the first process, on all."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    own = {key: value for key, value in method.state_dict().items() if not key.startswith("backbone.")}
    box = [own]
    dist.broadcast_object_list(box, src=0)
    method.load_state_dict(box[0], strict=False)


class _Reader(pl.LightningModule):
    """Gives the pooled vectors of a batch in place of codes."""

    def __init__(self, method: HashingMethod) -> None:
        super().__init__()
        self.method = method

    @torch.no_grad()
    def predict_step(self, batch: Batch, batch_idx: int) -> Encoded:
        """The vectors, with the positions and labels of their items."""
        vectors = self.method.read(batch).features.vector
        codes = RealCodes(vectors.float().numpy(force=True), "dot")
        return Encoded(batch.index.cpu().numpy(), batch.labels.cpu().numpy(), codes, None)
