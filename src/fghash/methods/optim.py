"""From OptimConfig to an optimiser and a learning-rate curve."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fghash.settings.config import OptimConfig


def build_optimizer(
    config: OptimConfig, backbone: Iterable[nn.Parameter], head: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Two groups, ``backbone`` at ``lr`` and ``head`` at ``lr * head_multiple``; no decay on vectors and
    scalars.

    Biases, normalisation weights and other one-dimensional parameters are not decayed. On a GPU the step is
    one kernel for all parameters, where the optimiser has such.
    """
    groups = [
        *_decayed_apart("backbone", backbone, config.lr, config.weight_decay),
        *_decayed_apart("head", head, config.lr * config.head_multiple, config.weight_decay),
    ]
    settings = _own_settings(config)
    if config.name != "rmsprop" and all(each.is_cuda for group in groups for each in group["params"]):
        settings["fused"] = True
    optimizer: torch.optim.Optimizer = _class(config)(groups, lr=config.lr, **settings)
    vars(optimizer).pop(
        "_step_supports_amp_scaling", None
    )  # with fp16 gradients are unscaled first, to be clipped
    return optimizer


def rate_factor(config: OptimConfig, step: int, total: int) -> float:
    """What the learning rate is multiplied with at optimiser step ``step`` of ``total``."""
    warm = int(config.warmup * total)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))
    if config.schedule == "step":
        return float(config.gamma ** (step // config.step_size))
    if config.schedule == "milestones":
        return float(config.gamma ** sum(step >= fraction * total for fraction in config.milestones))
    return 1.0


def _decayed_apart(
    name: str, parameters: Iterable[nn.Parameter], lr: float, decay: float
) -> list[dict[str, Any]]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"name": name, "params": matrices, "lr": lr, "weight_decay": decay},
        {"name": f"{name}_undecayed", "params": vectors, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _class(config: OptimConfig) -> Any:
    optim = torch.optim
    return {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}[config.name]


def _own_settings(config: OptimConfig) -> dict[str, Any]:
    return {"momentum": config.momentum, "nesterov": config.nesterov} if config.name == "sgd" else {}
