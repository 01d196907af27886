"""Backbone: images in, feature maps of four levels out (the only importer of timm).

Level l = 1..4 has stride 2^(l+1), so level 4 of a ResNet is its last stage. The network is cut into four
consecutive
stages at timm's own feature points; a network that cannot be cut so that the maps stay the same is refused.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.config import BackboneConfig

STRIDES = (4, 8, 16, 32)


class Backbone(nn.Module):
    """A timm network as four stages.

    ``channels`` and ``strides`` are those of levels 1 to 4. ``weights_hash`` names the starting weights by
    content (``none`` for random ones), so that a run is known by what it started from and not by a path.

    Raises:
        InputError: unknown network or option, no maps at strides 4, 8, 16, 32, or weights that do not fit.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = STRIDES

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        network = _create(config)
        if config.weights not in ("none", "pretrained"):
            _load_weights(network, Path(config.weights))
        self.weights_hash = "none" if config.weights == "none" else _content_hash(network)
        self.stages, self.channels = _cut(network, config.name)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.to(memory_format=self._layout)
        for stage in self.stages:
            self._compiled(stage)
        self._remembering = False
        self._remembered: list[Tensor] = []
        self._remembered_for: Tensor | None = None
        self.train()  # Lightning takes the modes as it finds them

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of levels 1 to 4, each (b, channels[l-1], h / strides[l-1], w / strides[l-1])."""
        return tuple(self._maps(images, 4))

    def forward_until(self, level: int, images: Tensor) -> Tensor:
        """The map of one level; later stages are not run."""
        return self._maps(images, level)[level - 1]

    def copy_stage(self, level: int) -> nn.Module:
        """An independent deep copy of one stage, weights included: map of level - 1 in, map of ``level``
        out.
        """
        return self._compiled(copy.deepcopy(self.stages[level - 1]))

    @contextmanager
    def remember(self) -> Iterator[None]:
        """Within this context the maps of one batch are computed once, however often they are asked for.

        Encoding uses it: codes and real embeddings of the same images share one forward pass.
        """
        self._remembering = True
        try:
            yield
        finally:
            self._remembering = False
            self._remembered, self._remembered_for = [], None

    def train(self, mode: bool = True) -> Backbone:
        """Training mode; with ``freeze_batchnorm`` the batch statistics stay those of the starting
        weights.
        """
        super().train(mode)
        if self.config.freeze_batchnorm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def _compiled(self, stage: nn.Module) -> nn.Module:
        """The same stage; if so configured, it will be compiled when it first runs."""
        if self.config.compile:
            _require_compiler()
            stage.compile()
        return stage

    def _maps(self, images: Tensor, level: int) -> list[Tensor]:
        """The maps up to a level, continuing from those remembered of the same images."""
        maps = self._remembered if self._remembering and self._remembered_for is images else []
        x = maps[-1] if maps else images.contiguous(memory_format=self._layout)
        for stage in self.stages[len(maps) : level]:
            x = stage(x)
            maps.append(x)
        if self._remembering:
            self._remembered, self._remembered_for = maps, images
        return maps


def _require_compiler() -> None:
    names = (os.environ.get("CXX", "g++"), "g++", "clang++")
    if not any(shutil.which(name) for name in names):
        raise InputError(
            "--backbone.compile: true, which needs a C++ compiler, and there is none here (install g++ or "
            "clang++, or leave it false)"
        )


def _create(config: BackboneConfig) -> nn.Module:
    """timm's feature network of that name."""
    if not timm.is_model(config.name):
        raise InputError(
            f"--backbone: unknown network '{config.name}' (any timm model)"
            + nearest(config.name, timm.list_models())
        )
    pretrained = config.weights == "pretrained"
    try:
        return timm.create_model(
            config.name, features_only=True, pretrained=pretrained, **dict(config.options)
        )
    except Exception as error:
        raise InputError(_creation_problem(config, error)) from error


def _creation_problem(config: BackboneConfig, error: Exception) -> str:
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if config.weights == "pretrained":
        return (
            f"--backbone.weights: the pretrained weights of '{config.name}' could not be fetched ({reason}); "
            "give the path of a .safetensors or .pth file instead"
        )
    return f"--backbone: timm cannot build '{config.name}' with options {dict(config.options)}: {reason}"


def _cut(network: nn.Module, name: str) -> tuple[nn.ModuleList, tuple[int, ...]]:
    """Four consecutive stages that give timm's own maps, and their channels."""
    info: Any = network.feature_info
    strides = list(info.reduction())
    if not set(STRIDES) <= set(strides):
        raise InputError(
            f"--backbone: '{name}' has maps at strides {strides}, strides {list(STRIDES)} are needed"
        )
    points = [strides.index(stride) for stride in STRIDES]
    ends = [info.module_name()[point].replace(".", "_") for point in points]
    channels = tuple(int(info.channels()[point]) for point in points)
    pieces = _pieces(network, ends)
    names = [piece for piece, _ in pieces]
    if not all(end in names for end in ends):
        raise InputError(f"--backbone: '{name}' cannot be cut into stages at {ends} (its parts: {names})")
    stages = nn.ModuleList()
    start = 0
    for end in ends:
        stop = names.index(end) + 1
        stages.append(nn.Sequential(OrderedDict(pieces[start:stop])))
        start = stop
    _check_cut(network, stages, points, channels, name)
    return stages, channels


def _pieces(network: nn.Module, ends: list[str]) -> list[tuple[str, nn.Module]]:
    """The network's parts in order of execution; a container that holds a cutting point is opened."""
    pieces: list[tuple[str, nn.Module]] = []
    for name, module in network.named_children():
        if (
            name not in ends
            and isinstance(module, nn.Sequential)
            and any(end.startswith(f"{name}_") for end in ends)
        ):
            pieces += [(f"{name}_{inner}", part) for inner, part in module.named_children()]
        else:
            pieces.append((name, module))
    return pieces


@torch.no_grad()
def _check_cut(
    network: nn.Module, stages: nn.ModuleList, points: list[int], channels: tuple[int, ...], name: str
) -> None:
    """Refuse a network whose stages, run one after the other, do not give timm's maps."""
    training = network.training
    network.eval()
    with torch.random.fork_rng(devices=[]):
        images = torch.rand(1, 3, 64, 64)
    try:
        expected = [network(images)[point] for point in points]
        x, same = images, True
        for stage, map_, c in zip(stages, expected, channels, strict=True):
            x = stage(x)
            same = same and x.shape == map_.shape and x.shape[1] == c and torch.equal(x, map_)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"--backbone: '{name}' does not run on images of any size: {str(error).splitlines()[0]}"
        ) from error
    network.train(training)
    if not same:
        raise InputError(
            f"--backbone: '{name}' is not a plain sequence of stages, its maps cannot be taken level by level"
        )


def _load_weights(network: nn.Module, path: Path) -> None:
    """Fill the network from a file with timm's (or torchvision's, where they agree) names; extra heads are
    left.
    """
    state = {
        _own_name(key, network): value for key, value in read_weights(path, "--backbone.weights").items()
    }
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


def _own_name(key: str, network: nn.Module) -> str:
    """timm's feature networks open containers: ``stages.0.x`` of a file is ``stages_0.x`` there."""
    key = key.removeprefix("module.")
    opened = key.replace(".", "_", 1)
    return opened if opened.split(".")[0] in dict(network.named_children()) else key


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


def _content_hash(network: nn.Module) -> str:
    """Twelve hex digits over names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
