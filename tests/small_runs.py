"""Finished runs on the generated data set, small enough to make in a test."""

from __future__ import annotations

from pathlib import Path

from fghash import api
from fghash.data.prepare.image_files import write_images
from fghash.registry import DATASETS

DATA = {"families": 2, "classes_per_family": 3, "train_images": 20, "query_images": 4, "image_size": 32}


def small_run(runs: Path, method: str, bits: int = 16, **settings) -> Path:
    """The folder of a run: 120 items in the gallery, 24 queries, 6 classes."""
    given = {"trainer": {"max_epochs": 1}, "backbone": "test_resnet", "gpus": 0, **settings}
    data = {"name": "synthetic", **DATA}
    return api.fit(method=method, data=data, bits=bits, runs=str(runs), **given).folder


def small_images(folder: Path, split: str = "query", per_class: int | None = None) -> Path:
    """The same images as files."""
    write_images(
        DATASETS["synthetic"].load()(num_workers=0, batch_size=8, training_seed=0, **DATA).read(),
        split,
        folder,
        per_class,
    )
    return folder
