"""Checkpoints are written atomically and read without running anything that lies in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from fghash.errors import InputError


class SafeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, through a temporary file in the same folder and ``weights_only=True``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write beside the target, flush to disk, then rename: a killed run leaves the old file or the new
        one.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values only.

        Raises:
            InputError: not a checkpoint, or one that holds more than data.
        """
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint on the CPU.

    Raises:
        InputError: not a checkpoint, or one that holds more than data.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a reader makes of a file that is something else
        raise InputError(
            f"checkpoint: {path} is not one (a truncated or foreign file); remove it, or use --force"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(
            f"checkpoint: {path} is not one of a training (it has no 'state_dict'); remove it, or use --force"
        )
    return checkpoint
