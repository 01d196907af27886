"""Quantizers whose codes and codebooks are found in turns with the network: DVSQ and DTQ.

An item is the sum of one codeword from each codebook. After every epoch the codebooks follow from the codes
by least squares and the codes from the codebooks by local search; in between the network is drawn to what
the codes of its items stand for.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import QuantizedCodes, RealCodes
from fghash.layers.heads import InputNorm, PooledLinear
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.quantizers import codebooks_for, from_first_process
from fghash.layers.requirements import require
from fghash.layers.resizing import take_sizes
from fghash.settings.config import OptimConfig

from ..shallow.additive import (
    beam_search,
    least_squares_codebooks,
    local_search,
    residual_codebooks,
    summed,
)
from ..shallow.words import CodewordLengths, words_for

_BEAM, _ROUNDS = 5, 4


class CompositeMethod(CodewordLengths):
    """A tanh embedding and its additive quantizer. A method writes :meth:`supervision` and :meth:`gap`.

    Args:
        words: codewords of a codebook; ``null``: as many of up to 256 as make the length come out even.
        dimensions: of the embedding.
        quantisation_weight: of the gap between embeddings and what their codes stand for.
        start: the part of the epochs after which the codebooks are set.
        input_norm: of the pooled features, ``none``, ``bn`` or ``ln``.
    """

    similarity = "dot"
    codebooks: Tensor
    indices: Tensor
    embeddings: Tensor
    found: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        words: int | None,
        dimensions: int,
        quantisation_weight: float,
        start: float,
        input_norm: InputNorm,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        require(1 <= dimensions <= 4096, "dimensions", dimensions, "1 to 4096")
        weight = quantisation_weight
        require(0 <= weight <= 1e6, "quantisation_weight", weight, "numbers from 0 to 1e6")
        require(0 <= start < 1, "start", start, "parts of the training from 0 to below 1")
        self.words = words_for(bits, words)
        self.m, self.quantisation_weight, self.start = codebooks_for(bits, self.words), weight, start
        self.head = PooledLinear(backbone.width, dimensions, input_norm)
        self.register_buffer("codebooks", torch.randn(self.m, self.words, dimensions))
        # of all training items in dataset order: codewords, latest embedding; whether there are codes yet
        self.register_buffer("indices", torch.empty(0, self.m, dtype=torch.long))
        self.register_buffer("embeddings", torch.empty(0, dimensions))
        self.register_buffer("found", torch.zeros((), dtype=torch.bool))

    @abstractmethod
    def supervision(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named terms of embeddings (b, dimensions) and labels of the global batch."""

    @abstractmethod
    def gap(self, z: Tensor, decoded: Tensor) -> Tensor:
        """How far embeddings are from what their codes stand for, scalar."""

    def train_sampler(self, labels: np.ndarray) -> Sampler[Any] | None:
        """The data's own order; here it is learned how many items there are."""
        if len(self.indices) != len(labels):
            self.indices = self.indices.new_zeros(len(labels), self.m)
            self.embeddings = self.embeddings.new_zeros(len(labels), self.embeddings.shape[1])
        return None

    def forward(self, features: Features) -> Tensor:
        """z, the embedding (b, dimensions)."""
        return torch.tanh(at_least_float32(self.head(features.vector)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Supervision, and the gap to the codes once there are some."""
        together, z = self.gather(batch, self(batch.features))
        with full_precision(z):
            terms = self.supervision(z, together.labels)
            if len(self.indices):
                self.embeddings[together.index] = z.detach().to(self.embeddings)
                decoded = summed(self.indices[together.index], self.codebooks).to(z.dtype)
                weight = self.quantisation_weight * self.found
                terms["quantisation"] = weight * self.gap(z, decoded)
        return terms

    def on_train_epoch_end(self) -> None:
        """New codebooks and codes."""
        if self.current_epoch + 1 >= self.start * self.planned_epochs():
            self.requantize()

    @torch.no_grad()
    def requantize(self) -> None:
        """Codebooks and codes of the latest embeddings: from residual k-means at first, then in turns."""
        x = self.embeddings.float()
        if not self.found:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.current_epoch)
                codebooks = residual_codebooks(x, self.m, self.words, _BEAM)
            indices = beam_search(x, codebooks, _BEAM)
        else:
            codebooks = least_squares_codebooks(x.cpu(), self.indices.cpu(), self.words).to(x.device)
            indices = local_search(x, codebooks, self.indices, _ROUNDS)
        self.codebooks = from_first_process(codebooks.to(self.codebooks))
        self.indices = from_first_process(indices)
        self.found = torch.ones_like(self.found)

    def encode(self, features: Features) -> QuantizedCodes:
        """The codewords that come closest."""
        indices = self.code_values(features).numpy(force=True)
        return QuantizedCodes(indices, self.codebooks.float().numpy(force=True), "additive", self.similarity)

    def encode_queries(self, features: Features) -> RealCodes:
        """The embedding itself."""
        return RealCodes(self.query_values(features).numpy(force=True), self.similarity)

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the codewords."""
        z = self.query_values(features)
        with full_precision(z):
            start = beam_search(z, self.codebooks.float(), _BEAM)
            return local_search(z, self.codebooks.float(), start, _ROUNDS)

    def query_values(self, features: Features) -> Tensor:
        """The embedding (b, width) in float32."""
        embedding: Tensor = self(features).float()
        return embedding

    def embed(self, features: Features) -> RealCodes:
        """The embedding, with the similarity of the codes."""
        return self.encode_queries(features)

    def head_parameters(self) -> list[nn.Parameter]:
        """The embedding's; the codebooks have no gradient."""
        return list(self.head.parameters())

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take the sizes of the checkpoint: how many items there are is not known before."""
        take_sizes(self, ("indices", "embeddings"), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)
