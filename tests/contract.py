"""What the contract tests build: every registered method on a tiny network and a tiny data set."""

from __future__ import annotations

import torch

from fghash.backbone import Backbone
from fghash.registry import DATASETS, METHODS
from fghash.settings.config import BackboneConfig, OptimConfig

BITS = 16


def tiny_data(**settings):
    """Three families of three classes, an odd number of items in both splits, 32 px."""
    given = {"families": 3, "classes_per_family": 3, "train_images": 7, "query_images": 3, **settings}
    data = DATASETS["synthetic"].load()(image_size=32, num_workers=0, batch_size=8, training_seed=0, **given)
    data.setup("fit")
    return data


def tiny_method(name, data, bits=BITS, **settings):
    """The method with its class's defaults, on a network of 0.4 million weights, seeded."""
    torch.manual_seed(5)
    backbone = Backbone(BackboneConfig("test_resnet"))
    return METHODS[name].load()(backbone, data.num_classes, bits, OptimConfig(lr=0.01), **settings)
