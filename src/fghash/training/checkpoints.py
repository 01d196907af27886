"""Checkpoints are written atomically, by a thread, and read without running anything that lies in them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import Tensor

from fghash.errors import InputError
from fghash.store.writing import replacing


class SafeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, through a temporary file in the same folder and ``weights_only=True``.

    Training goes on while a thread writes a copy. The next checkpoint, and the end of training, wait for it.
    """

    def __init__(self) -> None:
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Copy, and have it written.

        Raises:
            InputError: the checkpoint before this one could not be written.
        """
        self.wait()
        copied = apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.detach().clone())
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(_write, copied, Path(path))

    def wait(self) -> None:
        """Until what was to be written is on disk.

        Raises:
            InputError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def teardown(self) -> None:
        """At the end of training nothing is left to write.

        Raises:
            InputError: as :meth:`wait`.
        """
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None
        self.wait()

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
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # whatever a reader makes of a file that is something else
        raise InputError(
            f"checkpoint: {path} is not one (a truncated or foreign file); remove it, or use --force"
        ) from error
    values: dict[str, Any] = checkpoint if isinstance(checkpoint, dict) else {}
    for name, kind in (("state_dict", dict), ("epoch", int)):
        if not isinstance(values.get(name), kind):
            raise InputError(
                f"checkpoint: {path} is not one of a training (it has no {name}); remove it, or use --force"
            )
    return values


def _write(checkpoint: dict[str, Any], target: Path) -> None:
    """Whole or not at all: a killed run leaves the old file or the new one."""
    with replacing(target) as temporary, temporary.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            raise _of_disk(error) or error from error


def _of_disk(error: BaseException | None) -> OSError | None:
    """What the system said: torch raises an error of its own over it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
