"""Weights of a network: from a file of tensors, and their name by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fghash.errors import InputError


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill the network from a file with timm's (or torchvision's, where they agree) names; classifiers are
    ignored.

    Raises:
        InputError: no file of weights, or weights that do not fit the network.
    """
    read = read_weights(path, "--backbone.weights")
    state = {key.removeprefix("module."): value for key, value in read.items()}
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    if missing or wrong:
        listed = "; ".join([*wrong[:5], *(f"{key} is missing" for key in missing[:5])])
        raise InputError(
            f"--backbone.weights: {path} does not fit: "
            f"{len(wrong)} wrong shapes, {len(missing)} missing: {listed}"
        )
    network.load_state_dict(
        {key: state[key].to(value.dtype) for key, value in own.items() if key in state}, strict=False
    )


def read_weights(path: Path, argument: str) -> Mapping[str, Tensor]:
    """The tensors of a ``.safetensors`` or weights-only ``.pth`` file.

    Raises:
        InputError: no such file, or not a file of tensors (pickled code is refused, never run).
    """
    if not path.is_file():
        raise InputError(
            f"{argument}: no such file: {path} (allowed: none, pretrained, a .safetensors or .pth file)"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader makes of a file that is something else
        raise InputError(_not_weights(argument, path)) from error
    state = state.get("state_dict", state.get("model", state)) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(_not_weights(argument, path))
    return state


def _not_weights(argument: str, path: Path) -> str:
    return f"{argument}: {path} is not a file of weights (a .safetensors or weights-only .pth file is needed)"


def content_hash(network: nn.Module) -> str:
    """Twelve hex digits over names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
