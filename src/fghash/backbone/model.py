"""The backbone of every method: a timm network that gives maps of four levels and its pooled vector."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fghash.backbone.network import N_LEVELS, build, entries, is_plain, places, split_names
from fghash.backbone.pixels import Normalise
from fghash.backbone.stages import copied_blocks, copied_modules
from fghash.backbone.weights import content_hash, load_weights
from fghash.batch import Features, Reads
from fghash.errors import InputError
from fghash.settings.config import BackboneConfig

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SMALL = 64  # pixels; what a network of any image size is tried on where no size is given


class Backbone(nn.Module):
    """A timm network, its levels at the quarters of its depth.

    Levels 1 to 4 are the last four places at which timm's network of several strides gives features, or, of a
    plain transformer, the blocks at the quarters of its depth, all with one stride. ``channels`` and
    ``strides`` are those of levels 1 to 4, ``width`` that of the pooled vector. ``mean``, ``std``,
    ``interpolation`` and ``input_size`` belong to the network's weights. ``weights_hash`` names the starting
    weights by content (``none`` for random ones), so that a run is known by what it started from and not by a
    path.

    Args:
        config: the network and its weights.
        image_size: side of the images in pixels; the network is tried once at this size.
        rounds: give what is frozen as rounded to float16, as the feature cache stores it.

    Raises:
        InputError: unknown network or option, fewer than four levels, a network that does not run at this
            image size, or weights that do not fit.
    """

    levels: tuple[int, ...] = tuple(range(1, N_LEVELS + 1))

    def __init__(self, config: BackboneConfig, image_size: int | None = None, rounds: bool = False) -> None:
        super().__init__()
        self.config, self.rounds = config, rounds
        self.network: Any = build(config, image_size)
        if config.weights not in ("none", "pretrained"):
            load_weights(self.network, Path(config.weights))
        self.weights_hash = "none" if config.weights == "none" else content_hash(self.network)
        self._places = places(self.network, config.name)
        self._ends = tuple(entries(self.network)[place]["module"] for place in self._places)
        self._describe(self.network.pretrained_cfg)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.to(memory_format=self._layout)
        self._try(image_size or self._any_size())
        self._run = torch.compile(self._network_features) if _compiles(config) else self._network_features
        self._freeze()
        self.train()  # Lightning takes the modes as it finds them

    def forward(self, images: Any, reads: Reads) -> Features:
        """The features that ``reads`` names of images: bytes, uncropped images or normalised floats.

        This is the only way to the network, on every device. What is frozen runs without gradient.
        """
        x = self.normalise(images).contiguous(memory_format=self._layout)
        with torch.no_grad() if self.config.freeze == "all" else nullcontext():
            features: Features = self._run(x, reads)
        return self._rounded(features) if self.rounds else features

    def of_normalised(self, x: Tensor, reads: Reads) -> Features:
        """The features of normalised floats (b, 3, h, w), for tracing: uncompiled, whatever the settings."""
        features = self._network_features(x, reads)
        return self._rounded(features) if self.rounds else features

    def freezes(self, reads: Reads) -> bool:
        """Whether nothing that gives these features is trained."""
        return self.config.freeze == "all" or (
            not reads.pooled and all(level <= self._frozen_until for level in reads.levels)
        )

    @cached_property
    def content(self) -> str:
        """Twelve hex digits of its present weights, random ones included."""
        return content_hash(self.network)

    def example(self, reads: Reads) -> Features:
        """Features of one image, whose shapes are those of any image of this size."""
        return self._of_a_random_image(self.tried_size, reads)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of its weights."""
        return self.normalise.mean.dtype

    def copy_stage(self, level: int) -> nn.Module:
        """An independent, trainable deep copy of one stage, weights included: map of ``level - 1`` in, map of
        ``level`` out.

        Of a plain transformer its blocks, over the patch tokens alone, as a map holds no other tokens.

        Raises:
            InputError: the network is not a plain sequence of modules there.
        """
        place, name = self._places[level - 2 : level], self.config.name
        maps = self._of_a_random_image(self.tried_size, Reads(levels=(level - 1, level))).maps
        inputs, expected = maps[level - 1], maps[level]
        if is_plain(self.network):
            stage = copied_blocks(self.network, place[0] + 1, place[1], inputs, name)
        else:
            start, end = self._ends[level - 2 : level]
            stage = copied_modules(self.network, start, end, inputs, expected, name)
        stage = stage.requires_grad_(True).to(memory_format=self._layout)
        if _compiles(self.config):
            stage.compile()
        return stage

    def rest_after(self, level: int) -> None:
        """Do not train what lies after a level: a method that never runs it has no gradients for it."""
        for parameter, of_level in self._parameter_levels():
            parameter.requires_grad_(parameter.requires_grad and of_level <= level)

    def train(self, mode: bool = True) -> Backbone:
        """Training mode; what is frozen, with ``freeze_batchnorm`` all batch statistics, stays as it is."""
        super().train(mode)
        for module, level in self._module_levels():
            still = self.config.freeze_batchnorm and isinstance(module, nn.modules.batchnorm._BatchNorm)
            if still or level <= self._frozen_until:
                module.training = False
        return self

    @property
    def _frozen_until(self) -> int:
        freeze = self.config.freeze
        return {"none": 0, "all": N_LEVELS + 1}.get(str(freeze), freeze)  # type: ignore[arg-type, return-value]

    def _freeze(self) -> None:
        for parameter, level in self._parameter_levels():
            parameter.requires_grad_(level > self._frozen_until)

    def _parameter_levels(self) -> Iterator[tuple[nn.Parameter, int]]:
        """Every parameter with the level of the module that holds it; the network's own are of level 1."""
        for module, level in self._module_levels():
            for parameter in module.parameters(recurse=False):
                yield parameter, level

    def _module_levels(self) -> Iterator[tuple[nn.Module, int]]:
        names, modules = zip(*self.network.named_modules(), strict=True)
        return zip(modules, split_names(names, self._ends), strict=True)

    def _network_features(self, x: Tensor, reads: Reads) -> Features:
        network, chosen = self.network, [self._places[level - 1] for level in sorted(reads.levels)]
        if not reads.pooled:
            maps = network.forward_intermediates(x, indices=chosen, intermediates_only=True, stop_early=True)
            return Features(None, dict(zip(sorted(reads.levels), maps, strict=True)))
        if not chosen:
            return Features(network.forward_head(network.forward_features(x), pre_logits=True))
        final, maps = network.forward_intermediates(x, indices=chosen)
        pooled = network.forward_head(final, pre_logits=True)
        return Features(pooled, dict(zip(sorted(reads.levels), maps, strict=True)))

    def _rounded(self, features: Features) -> Features:
        pooled = features.pooled
        if pooled is not None and self.config.freeze == "all":
            pooled = pooled.half().to(pooled.dtype)
        maps = {
            level: map_.half().to(map_.dtype) if level <= self._frozen_until else map_
            for level, map_ in features.maps.items()
        }
        return Features(pooled, maps)

    def _describe(self, cfg: Any) -> None:
        """What the weights expect of images: from the settings, else from timm's ``pretrained_cfg``."""
        self.mean = tuple(self.config.mean or cfg.get("mean") or _IMAGENET["mean"])
        self.std = tuple(self.config.std or cfg.get("std") or _IMAGENET["std"])
        self.interpolation = str(cfg.get("interpolation") or "bilinear")
        self.input_size = int((cfg.get("input_size") or (3, 224, 224))[-1])
        self.normalise = Normalise(self.mean, self.std)

    def _any_size(self) -> int:
        return self.input_size if hasattr(self.network, "patch_embed") else _SMALL

    def _try(self, size: int) -> None:
        """Run once at this size: channels and strides are told, and a network that cannot is refused."""
        try:
            features = self._of_a_random_image(size, Reads(pooled=True, levels=self.levels))
            maps, pooled = features.maps, features.vector
            if any(map_.ndim != 4 for map_ in maps.values()) or pooled.ndim != 2:
                raise ValueError("its features are not maps and a vector")
        except (
            RuntimeError,
            AssertionError,
            ValueError,
            TypeError,
            IndexError,
            NotImplementedError,
        ) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"--backbone: '{self.config.name}' does not run on images of {size} pixels "
                f"(--data.image_size): {reason}"
            ) from error
        self.channels = tuple(map_.shape[1] for map_ in maps.values())
        self.strides = tuple(int(entries(self.network)[place]["reduction"]) for place in self._places)
        self.width, self.tried_size = pooled.shape[1], size

    def _of_a_random_image(self, size: int, reads: Reads) -> Features:
        """Features in evaluation mode; no generator of the caller's is advanced."""
        with self._quiet(), torch.random.fork_rng(devices=[]):
            x = torch.rand(1, 3, size, size).contiguous(memory_format=self._layout)
            return self._network_features(x, reads)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Evaluation mode, no gradients, and afterwards every module's own mode again."""
        training = [module for module in self.network.modules() if module.training]
        self.network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module in training:
                module.training = True


def cxx_compiler() -> str | None:
    """The C++ compiler that torch.compile finds, ``None`` if there is none."""
    return next(filter(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")), None)


def _compiles(config: BackboneConfig) -> bool:
    if config.compile and cxx_compiler() is None:
        raise InputError(
            "--backbone.compile: true, which needs a C++ compiler, and there is none here (install g++ or "
            "clang++, or leave it false)"
        )
    return config.compile
