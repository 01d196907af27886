"""The loaders of every data set, through the `folder` data set and the drawn one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device

from fghash.batch import Batch
from fghash.data import sampling
from fghash.data.images.resample import scaled, scaled_shape
from fghash.data.images.transforms import EvaluationTransform, cut_batch, stored_size
from fghash.data.sets.folder import Folder
from fghash.data.sets.synthetic import Synthetic
from fghash.errors import InputError
from fghash.registry import DATASETS


def folder(tree: Path, **settings) -> Folder:
    module = Folder(**{"root": str(tree), "image_size": 24, "batch_size": 4, "num_workers": 0} | settings)
    module.setup()
    return module


def collected(loader) -> Batch:
    batches = list(loader)
    images, labels, index = (torch.cat([batch[i] for batch in batches]) for i in range(3))
    return Batch(images, labels, index)


def test_every_registered_data_set_can_be_loaded():
    for info in DATASETS.values():
        assert issubclass(info.load(), pl.LightningDataModule)


def test_batches_are_bytes_in_order(tree: Path):
    module = folder(tree)
    batch = collected(module.query_dataloader())
    pictures = [module.query_items.read(i) for i in range(9)]
    transform = EvaluationTransform(24)
    pictures = [scaled(one, scaled_shape(*one.shape[:2], stored_size(24))) for one in pictures]
    cuts = transform.cuts([one.shape[:2] for one in pictures], [(i, 0) for i in range(9)])
    assert batch.images.dtype == torch.uint8
    assert torch.equal(batch.images, cut_batch(pictures, cuts, 24))
    assert batch.index.tolist() == list(range(9))
    assert batch.labels.tolist() == module.query_items.labels.tolist()


def test_attributes(tree: Path):
    module = folder(tree)
    module.setup()
    assert (module.num_classes, module.class_names) == (3, ("ash", "beech", "cedar"))
    assert module.train_labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert module.families is None
    assert module.gallery_is_train
    assert module.val_dataloader() == []


@pytest.mark.parametrize("sampler", ["shuffle", "pk"])
def test_training_batches_do_not_depend_on_workers(tree: Path, sampler: str):
    def epoch(n_workers: int) -> Batch:
        module = folder(tree, num_workers=n_workers, sampler=sampler, classes_per_batch=2, training_seed=3)
        loader = module.train_dataloader()
        loader.sampler.set_epoch(2)
        torch.manual_seed(n_workers)
        return collected(loader)

    alone, helped = epoch(0), epoch(2)
    assert all(torch.equal(a, b) for a, b in zip(alone[:3], helped[:3], strict=True))


def test_epochs_differ_and_repeat(tree: Path):
    def epoch(number: int, seed: int = 0) -> Batch:
        loader = folder(tree, training_seed=seed).train_dataloader()
        loader.sampler.set_epoch(number)
        return collected(loader)

    assert torch.equal(epoch(1).images, epoch(1).images)
    assert not torch.equal(epoch(1).index, epoch(2).index)
    assert not torch.equal(epoch(1).index, epoch(1, seed=1).index)


def test_validation_is_held_out_of_training_and_not_of_the_gallery(tree: Path):
    module = folder(tree, validation=0.25)
    query, gallery = module.val_dataloader()
    assert np.bincount(collected(query).labels).tolist() == [2, 2, 2]
    assert collected(gallery).labels.tolist() == module.train_labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert len(collected(module.gallery_dataloader()).index) == 24
    assert not set(module.held_out.names) & set(module.train_items.names)
    assert not module.gallery_is_train
    assert module.fingerprint == folder(tree).fingerprint


def test_two_processes_make_the_batches_of_one(tree: Path, monkeypatch):
    whole = folder(tree, batch_size=6)
    shards = []
    for rank in (0, 1):
        monkeypatch.setattr(sampling, "process", lambda rank=rank: (rank, 2))
        module = folder(tree, batch_size=6)
        shards.append((list(module.train_dataloader()), collected(module.query_dataloader())))
    monkeypatch.setattr(sampling, "process", lambda: (0, 1))
    for batch, first, second in zip(whole.train_dataloader(), shards[0][0], shards[1][0], strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.index, torch.cat([first.index, second.index]))
    encoded = torch.cat([shards[0][1].index, shards[1][1].index])
    assert sorted(encoded.tolist()) == list(range(9))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_bad_file_is_one_line_from_any_process(tree: Path, n_workers: int):
    (tree / "query" / "ash" / "1.png").write_text("not an image")
    with pytest.raises(InputError) as caught:
        list(folder(tree, num_workers=n_workers).query_dataloader())
    assert str(caught.value) == f"cannot read image {tree / 'query' / 'ash' / '1.png'}: not an image"


def test_a_methods_own_order(tree: Path):
    module = folder(tree)
    module.train_order = [5, 3, 1, 23, 7]
    assert collected(module.train_dataloader()).index.tolist() == [5, 3, 1, 23]


class Recorder(pl.LightningModule):
    """Learns nothing and notes which items came in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[int]] = {}
        self.pixels: dict[int, float] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch.index.tolist())
        self.pixels[self.current_epoch] = float(batch.images.double().sum())
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_tells_the_epoch_and_a_resumed_run_sees_the_same_items(tree: Path, tmp_path: Path):
    def fit(epochs: int, checkpoint: Path | None = None) -> Recorder:
        recorder = Recorder()
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
        )
        trainer.fit(recorder, datamodule=folder(tree), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return recorder

    whole = fit(4)
    fit(2)
    resumed = fit(4, tmp_path / "last.ckpt")
    assert len({tuple(items) for items in whole.seen.values()}) == 4
    assert resumed.seen == {epoch: whole.seen[epoch] for epoch in (2, 3)}
    assert resumed.pixels == {epoch: whole.pixels[epoch] for epoch in (2, 3)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 4}, "--data.image_size: must be at least 8 pixels, got 4"),
        ({"sampler": "random"}, "--data.sampler: must be shuffle or pk, got 'random'"),
        ({"num_workers": -1}, "--data.num_workers: must be at least 0, got -1"),
        ({"validation": 1.5}, "--data.validation: must be at least 0 and below 1, got 1.5"),
    ],
)
def test_values_out_of_range_are_refused_at_the_door(settings, message):
    with pytest.raises(InputError) as caught:
        Synthetic(**settings)
    assert str(caught.value) == message


def test_a_batch_larger_than_the_training_set(tree: Path):
    with pytest.raises(InputError, match=r"--batch_size: 100 is more than the 24 training images"):
        folder(tree, batch_size=100).train_dataloader()


@pytest.mark.parametrize("cache", [None, "ram"])
def test_on_a_device_batches_are_the_same_to_a_level(tree: Path, monkeypatch, cache):
    """With the cache whole pictures travel and are cut there; without it, what was cut here."""
    here = list(folder(tree, cache=cache).train_dataloader())
    queries = list(folder(tree, cache=cache).query_dataloader())
    monkeypatch.setattr(Folder, "_on_accelerator", lambda _: True)
    module = folder(tree, cache=cache)
    for mine, theirs in zip(here, module.train_dataloader(), strict=True):
        assert torch.equal(mine.index, theirs.index)
        moved = move_data_to_device(theirs, torch.device("cpu")).images
        levels = moved.crop() if cache else moved
        assert (mine.images.float() - levels.float()).abs().max() <= 1
    for mine, theirs in zip(queries, module.query_dataloader(), strict=True):
        assert torch.equal(mine.images, theirs.images)
