"""In place of a backbone where the data are features already."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fghash.backbone.model import Backbone
from fghash.batch import Features, Reads
from fghash.errors import InputError
from fghash.settings.config import BackboneConfig

GIVEN = "given"  # its name, where that of a network would stand


class GivenFeatures(Backbone):
    """No network: pooled vectors of a known width that somebody else computed.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)
        self.config = BackboneConfig(name=GIVEN, freeze="all")
        self.width, self.rounds, self.weights_hash = width, False, "none"
        self.register_buffer("precision", torch.zeros(0), persistent=False)

    @property
    def channels(self) -> Any:  # type: ignore[override]
        """There are no maps.

        Raises:
            InputError: always; a method that reads maps asks for it.
        """
        raise InputError(
            "--method: it reads maps of a network's levels, and --data features has pooled vectors"
        )

    strides = channels

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which the vectors reach the method."""
        precision: Any = self.precision
        found: torch.dtype = precision.dtype
        return found

    def forward(self, images: Any, reads: Reads) -> Features:
        """There is nothing to run.

        Raises:
            InputError: always.
        """
        raise InputError("images: the run was trained on given features, expected vectors instead of images")

    def freezes(self, reads: Reads) -> bool:
        """Nothing here is trained."""
        return True

    def copy_stage(self, level: int) -> nn.Module:
        """Refused as ``channels``."""
        stage: nn.Module = self.channels
        return stage

    def rest_after(self, level: int) -> None:
        """There is nothing to rest."""

    def train(self, mode: bool = True) -> GivenFeatures:
        """Modes play no part."""
        self.training = mode
        return self
