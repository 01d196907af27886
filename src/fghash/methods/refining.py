"""Methods whose head refines a map with trained copies of the network's last stage, as ExchNet does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fghash.batch import Features
from fghash.codes import BinaryCodes, RealCodes
from fghash.methods.alternating import AlternatingMethod
from fghash.methods.optim import build_optimizer


class RefiningMethod(AlternatingMethod):
    """Values (b, bits) whose signs are the code, from :meth:`forward`.

    Copies learn at the backbone's rate, new layers at the head's; frozen batch statistics are frozen in the
    copies too.
    """

    @abstractmethod
    def copies(self) -> Iterable[nn.Module]:
        """The copied stages."""

    @abstractmethod
    def new_parameters(self) -> Iterable[nn.Parameter]:
        """Those that start from nothing."""

    def encode(self, features: Features) -> BinaryCodes:
        """The signs of the method's values."""
        return BinaryCodes.from_signs(self(features))

    def embed(self, features: Features) -> RealCodes:
        """u = tanh of the values, compared by cosine."""
        return _embedding(self(features))

    def encode_and_embed(self, features: Features, queries: bool) -> tuple[BinaryCodes, RealCodes]:
        """Both from one run of the head, which holds stages of the backbone."""
        values = self(features)
        return BinaryCodes.from_signs(values), _embedding(values)

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """The new layers': the refining stages are pretrained as the backbone is."""
        return list(self.new_parameters())

    def configure_optimizers(self) -> Any:
        """Backbone and its copies in one group, the new layers in the other."""
        new = {id(parameter) for parameter in self.head_parameters()}
        pretrained = [parameter for parameter in self.parameters() if id(parameter) not in new]
        optimizer = build_optimizer(self.optim, pretrained, self.head_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}

    def train(self, mode: bool = True) -> RefiningMethod:
        """Training mode; a backbone with frozen batch statistics has copies that are frozen too."""
        super().train(mode)
        if self.backbone.config.freeze_batchnorm:
            for stage in self.copies():
                for module in stage.modules():
                    module.training &= not isinstance(module, nn.modules.batchnorm._BatchNorm)
        return self


def _embedding(values: Tensor) -> RealCodes:
    return RealCodes(torch.tanh(values.float()).numpy(force=True), "cosine")
