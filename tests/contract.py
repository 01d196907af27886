"""What the contract tests build: every registered method on a tiny network and a tiny data set."""

from __future__ import annotations

import torch

from fghash.backbone import Backbone
from fghash.registry import DATASETS, METHODS
from fghash.settings.config import BackboneConfig, OptimConfig
from fghash.training.fitting import fit_closed_form

BITS = 16
TRAINED = sorted(name for name, info in METHODS.items() if not info.closed_form)
CLOSED_FORM = sorted(set(METHODS) - set(TRAINED))
# Those that differ from another one in a pure function alone: whole runs of them would show nothing more.
ALIKE = {
    "dch", "dpn", "dpsh", "dsh", "dtsh", "greedyhash", "dvsq", "itq_cca", "ksh", "lsh", "opq", "rq", "sh",
}  # fmt: skip
WHOLE_RUNS = sorted(set(METHODS) - ALIKE)


def fit(trainer, method, data):
    """What the pipeline does between preparing and encoding."""
    if method.closed_form:
        fit_closed_form(trainer, method, data)
    else:
        trainer.fit(method, datamodule=data)


def tiny_data(**settings):
    """Three families of three classes, an odd number of items in both splits, 32 px."""
    given = {"families": 3, "classes_per_family": 3, "train_images": 7, "query_images": 3, **settings}
    data = DATASETS["synthetic"].load()(image_size=32, num_workers=0, batch_size=8, training_seed=0, **given)
    data.setup("fit")
    return data


def tiny_method(name, data, bits=BITS, **settings):
    """The method with its class's defaults, on a network of 0.4 million weights, seeded.

    One in closed form is fitted to random vectors.
    """
    torch.manual_seed(5)
    backbone = Backbone(BackboneConfig("test_resnet"))
    method = METHODS[name].load()(backbone, data.num_classes, bits, OptimConfig(lr=0.01), **settings)
    if method.closed_form:
        method.fit_closed_form(
            torch.randn(len(data.train_labels), backbone.width), torch.from_numpy(data.train_labels)
        )
    return method
