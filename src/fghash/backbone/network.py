"""A timm network for images of one size, and where its four levels lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import nn

from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.config import BackboneConfig

N_LEVELS = 4
_STRIDES = [4, 8, 16, 32]  # of levels 1 to 4 where a network has them all

# How a transformer is told the size of its images; the first that its class accepts. With a dynamic size its
# weights keep their shapes, whatever the size.
_SIZES: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"img_size": None}, {})


def build(config: BackboneConfig, image_size: int | None) -> nn.Module:
    """timm's network of that name without its classifier.

    Raises:
        InputError: unknown network or option, or pretrained weights that cannot be fetched.
    """
    if ":" not in config.name and not timm.is_model(config.name):  # hub names, hf-hub:..., are timm's affair
        raise InputError(
            f"--backbone: unknown network '{config.name}' (any timm model)"
            + nearest(config.name, timm.list_models())
        )
    network = _sized(config, image_size)
    if not hasattr(network, "forward_intermediates"):
        raise InputError(
            f"--backbone: '{config.name}' gives no intermediate features (timm's forward_intermediates)"
        )
    classifier: Any = network
    classifier.reset_classifier(0)
    return network


def _sized(config: BackboneConfig, image_size: int | None) -> nn.Module:
    """The network; a transformer for images of ``image_size``, unless an option says otherwise."""
    state = torch.get_rng_state()
    network = _create(config, {})
    told = {"img_size", "dynamic_img_size"} & set(config.options)
    if told or not hasattr(network, "patch_embed"):
        return network
    for size in _SIZES:
        torch.set_rng_state(state)
        try:
            return _create(config, {key: value or image_size for key, value in size.items()}, TypeError)
        except TypeError:
            continue
    return network


def _create(
    config: BackboneConfig, size: dict[str, Any], passed_on: type[Exception] | tuple[()] = ()
) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(
            config.name, pretrained=config.weights == "pretrained", **{**size, **config.options}
        )
    except passed_on:
        raise
    except Exception as error:
        raise InputError(_problem(config, error)) from error
    return network


def _problem(config: BackboneConfig, error: Exception) -> str:
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if config.weights == "pretrained":
        return (
            f"--backbone.weights: the pretrained weights of '{config.name}' could not be fetched ({reason}); "
            "give the path of a .safetensors or .pth file instead"
        )
    return f"--backbone: timm cannot build '{config.name}' with options {dict(config.options)}: {reason}"


def is_plain(network: nn.Module) -> bool:
    """Whether it is a plain transformer: blocks at one stride from first to last."""
    strides = {entry.get("reduction") for entry in entries(network)}
    return len(strides) == 1 and hasattr(network, "blocks")


def entries(network: Any) -> list[dict[str, Any]]:
    """What timm says of each place where features can be taken."""
    info = network.feature_info
    return list(getattr(info, "info", info))


def places(network: nn.Module, name: str) -> tuple[int, ...]:
    """Which of :func:`entries` are levels 1 to 4.

    Of a plain transformer the quarters of its depth; else those of strides 4, 8, 16 and 32, or the last four.

    Raises:
        InputError: fewer than four places.
    """
    count = len(entries(network))
    if count < N_LEVELS:
        raise InputError(f"--backbone: '{name}' has {count} stages, {N_LEVELS} are needed")
    if is_plain(network):
        return tuple(math.ceil(count * level / N_LEVELS) - 1 for level in range(1, N_LEVELS + 1))
    strides = [entry["reduction"] for entry in entries(network)]
    if set(_STRIDES) <= set(strides):
        return tuple(strides.index(stride) for stride in _STRIDES)
    return tuple(range(count - N_LEVELS, count))


def split_names(names: Sequence[str], ends: Sequence[str]) -> list[int]:
    """The level of each dotted name in order of definition: 1 to 4 up to the module that ends it, 5 after."""
    last = [max((i for i, name in enumerate(names) if _within(name, end)), default=-1) for end in ends]
    return [1 + sum(i > stop for stop in last) for i in range(len(names))]


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
