"""A data module of random pictures in memory, whose order follows the real samplers, and a tiny backbone."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from fghash.backbone import Backbone
from fghash.batch import Batch
from fghash.data.sampling import EvaluationSampler, FromSampler, Shuffled, TrainSampler
from fghash.settings.config import BackboneConfig, OptimConfig


class Pictures(Dataset):
    """Items by position; each class is a pattern under noise."""

    def __init__(self, labels, size=64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        patterns = torch.randn(int(labels.max()) + 1, 3, 8, 8, generator=generator)
        self.labels = torch.as_tensor(labels)
        coarse = patterns[self.labels] + 0.3 * torch.randn(len(labels), 3, 8, 8, generator=generator)
        self.images = torch.nn.functional.interpolate(coarse, size=(size, size))

    def __len__(self):
        return len(self.labels)

    def __getitems__(self, keys):
        index = torch.tensor([index for index, _ in keys])
        return Batch(self.images[index], self.labels[index], index)


class TinyData(pl.LightningDataModule):
    def __init__(self, n_items=26, n_classes=3, batch_size=4, size=64):
        super().__init__()
        self.train_labels = np.arange(n_items) % n_classes
        self.pictures = Pictures(self.train_labels, size)
        self.batch_size, self.train_order = batch_size, None

    def _loader(self, sampler, size):
        return DataLoader(self.pictures, size, sampler=sampler, collate_fn=lambda batch: batch)

    def train_dataloader(self):
        order = FromSampler(self.train_order) if self.train_order else Shuffled(len(self.pictures), 0)
        sampler = TrainSampler(order, self.batch_size)
        return self._loader(sampler, sampler.local_batch_size)

    def train_eval_dataloader(self):
        return self._loader(EvaluationSampler(len(self.pictures)), 5)


def tiny_backbone():
    return Backbone(BackboneConfig(name="test_resnet"))


def tiny_method(method_class, bits=8, seed=0, lr=0.02, classes=3, **settings):
    torch.manual_seed(seed)
    return method_class(tiny_backbone(), classes, bits, OptimConfig(lr=lr, schedule="constant"), **settings)


def train(method, data, epochs, *, checkpoint=None, callbacks=(), folder=None, **trainer):
    """Train as the pipeline does: the method's own order of the items first, then a checkpoint if given."""
    data.train_order = method.train_sampler(data.train_labels)
    trainer = pl.Trainer(
        **{"accelerator": "cpu", "devices": 1, **trainer}, max_epochs=epochs, logger=False,
        callbacks=list(callbacks), enable_checkpointing=folder is not None, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint)
    return trainer


def seen(method, images):
    """What the method reads of these images."""
    n = len(images)
    return method.read(Batch(images, torch.zeros(n, dtype=torch.long), torch.arange(n))).features


def loss(method, images, labels):
    """The terms of the method's loss over one batch of images."""
    return method.loss(method.read(Batch(images, labels, torch.arange(len(images)))))
