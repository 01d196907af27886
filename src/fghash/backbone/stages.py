"""Copies of one stage of a network: the map of the level before in, the map of the level out."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fghash.errors import InputError


def copied_blocks(network: Any, first: int, last: int, inputs: Tensor, name: str) -> nn.Module:
    """Copies of a plain transformer's blocks ``first`` to ``last``, tried on the map ``inputs``.

    Raises:
        InputError: the blocks do not run on patch tokens alone.
    """
    blocks = nn.ModuleList(copy.deepcopy(network.blocks[i]) for i in range(first, last + 1))
    parts: Any = blocks.modules()
    for part in parts:
        if hasattr(part, "num_prefix_tokens"):
            part.num_prefix_tokens = 0
    stage = TokenStage(blocks, copy.deepcopy(getattr(network, "rope", None)))
    if getattr(network, "rope_mixed", False) or not _runs(stage, inputs):
        raise InputError(f"--backbone: the blocks of '{name}' cannot be copied (they need its class token)")
    return stage


class TokenStage(nn.Module):
    """Transformer blocks over the patch tokens alone: a map (b, c, h, w) holds no class token."""

    def __init__(self, blocks: nn.ModuleList, rope: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.rope = blocks, rope

    def forward(self, map_: Tensor) -> Tensor:
        """Map in, map of the same shape out."""
        height, width = map_.shape[-2:]
        tokens = map_.flatten(2).transpose(1, 2)
        rope: Any = self.rope
        more = {} if rope is None else {"rope": rope.get_embed(shape=(height, width))}
        for block in self.blocks:
            tokens = block(tokens, **more)
        map_ = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)
        return map_


class ChannelsLast(nn.Module):
    """A stage whose maps are (b, h, w, c) inside."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, map_: Tensor) -> Tensor:
        """Map (b, c, h, w) in, map (b, c, h, w) out."""
        out: Tensor = self.stage(map_.permute(0, 2, 3, 1).contiguous())
        return out.permute(0, 3, 1, 2).contiguous()


def copied_modules(
    network: nn.Module, start: str, end: str, inputs: Tensor, expected: Tensor, name: str
) -> nn.Module:
    """Copies of the modules after ``start`` up to ``end``, which turn ``inputs`` into exactly ``expected``.

    Raises:
        InputError: the network is not a plain sequence of modules there.
    """
    pieces = _pieces(network, "", (start, end))
    names = [piece for piece, _ in pieces]
    if start in names and end in names:
        chosen = pieces[names.index(start) + 1 : names.index(end) + 1]
        parts = OrderedDict((key.replace(".", "_"), copy.deepcopy(module)) for key, module in chosen)
        stage = nn.Sequential(parts)
        for candidate in (stage, ChannelsLast(stage)):
            if _gives(candidate, inputs, expected):
                return candidate
    raise InputError(
        f"--backbone: the last stage of '{name}' cannot be copied (it is not a plain sequence of modules)"
    )


def _pieces(module: nn.Module, prefix: str, ends: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """The parts of a network in order of definition; a container that holds one of ``ends`` is opened."""
    pieces: list[tuple[str, nn.Module]] = []
    for key, child in module.named_children():
        name = f"{prefix}{key}"
        if name not in ends and any(end.startswith(f"{name}.") for end in ends):
            pieces += _pieces(child, f"{name}.", ends)
        else:
            pieces.append((name, child))
    return pieces


def _gives(stage: nn.Module, inputs: Tensor, expected: Tensor) -> bool:
    found = _output(stage, inputs)
    return found is not None and found.shape == expected.shape and torch.equal(found, expected)


def _runs(stage: nn.Module, inputs: Tensor) -> bool:
    found = _output(stage, inputs)
    return found is not None and found.shape == inputs.shape


@torch.no_grad()
def _output(stage: nn.Module, inputs: Tensor) -> Tensor | None:
    """What the stage gives in evaluation mode, ``None`` if it does not run on these inputs."""
    training = [module for module in stage.modules() if module.training]
    stage.eval()
    try:
        found: Tensor = stage(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return None
    finally:
        for module in training:
            module.training = True
    return found
