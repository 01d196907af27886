"""DPQ as a method: two heads, two optimisers, two stages, one training for every code length."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from fghash.backbone import Backbone
from fghash.batch import Batch, Features
from fghash.codes import QuantizedCodes, RealCodes
from fghash.codes.kinds import as_array
from fghash.errors import InputError
from fghash.layers.precision import at_least_float32, full_precision
from fghash.layers.quantizers import (
    Latest,
    WordUsage,
    codebooks_for,
    cosine,
    from_first_process,
    k_means,
    nearness,
)
from fghash.layers.requirements import require
from fghash.methods.base import HashingMethod
from fghash.methods.dpq.dpq_loss import (
    HingeMean,
    Progressive,
    class_loss,
    margin_loss,
    quantization_losses,
    quantize,
)
from fghash.methods.dpq.label_vectors import random_vectors, read_vectors, vector_width
from fghash.methods.optim import build_optimizer
from fghash.settings.config import OptimConfig

FeatureNorm = Literal["none", "bn"]


class TwoHeads(nn.Module):
    """Embedding (b, width) in (-1, 1) and class scores (b, classes), both of pooled features (b, c)."""

    def __init__(
        self,
        channels: int,
        width: int,
        num_classes: int,
        *,
        norm: FeatureNorm,
        dropout: float,
        init_std: float,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels) if norm == "bn" else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(channels, width)
        self.classes = nn.Linear(channels, num_classes)
        for linear in (self.embedding, self.classes):
            nn.init.normal_(linear.weight, std=init_std)
            nn.init.zeros_(linear.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and class scores."""
        pooled = self.dropout(self.norm(pooled))
        return torch.tanh(self.embedding(pooled)), self.classes(pooled)


class DPQ(HashingMethod):
    """Progressive quantization of an embedding tied to label vectors; search is asymmetric, by inner product.

    Args:
        words: codewords of a codebook, a power of two; ``bits`` is a multiple of its logarithm.
        width: of the embedding, where no file of label vectors gives it.
        label_vectors: ``.npz`` or ``.txt`` of word vectors for the class names; ``null`` gives random
            vectors.
        hinge_mean: average the margin loss over ``all`` its terms or over the ``active`` ones.
        margin_weight: weight of the margin loss (the paper's 1; 0 is the ablation "without L_S").
        lam: weight of the classification loss (0 is the ablation "without L_C").
        gamma: sharpness of the soft path; the official code has 1.
        assignment: codewords are chosen by ``angle`` (official) or by ``distance``.
        tau: weight of all quantization terms.
        soft_weight: weight of the soft path within them (0 with ``nu`` 0 is the ablation "No-Soft").
        mu: weight of the hard path.
        nu: weight of the distance between the two paths.
        quant_grad_to_encoder: whether these terms train the network too (paper) or the codewords only
            (official code).
        two_step: stop training the network where the codewords start (the paper's ablation).
        codebook_start: fraction of the epochs after which the codewords learn.
        codebook_lr: learning rate of the codewords' Adam.
        init: of the codewords: ``gaussian`` (official) or ``kmeans`` on residuals at ``codebook_start``.
        clean_features: give the codewords embeddings of a second pass of the head without dropout and batch
            statistics.
        similarity: ``dot`` (official) or ``l2``.
        feature_norm: BatchNorm (``bn``) of the pooled features before both heads, or ``none`` (official).
        dropout: before both heads (official: 0.5 after each hidden layer of AlexNet).
        init_std: spread of the heads' first weights.
        bias_multiple: learning rate of biases (and of the other vectors) over that of matrices.

    Raises:
        InputError: a value out of its range, or a file of label vectors that cannot be read.
    """

    label_vectors: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        words: int = 256,
        width: int = 300,
        label_vectors: Path | None = None,
        hinge_mean: HingeMean = "active",
        margin_weight: float = 1.0,
        lam: float = 1.0,
        gamma: float = 10.0,
        assignment: Literal["angle", "distance"] = "angle",
        tau: float = 1.0,
        soft_weight: float = 1.0,
        mu: float = 1.0,
        nu: float = 0.1,
        quant_grad_to_encoder: bool = False,
        two_step: bool = False,
        codebook_start: float = 0.5,
        codebook_lr: float = 1e-3,
        init: Literal["gaussian", "kmeans"] = "kmeans",
        clean_features: bool = False,
        similarity: Literal["dot", "l2"] = "dot",
        feature_norm: FeatureNorm = "none",
        dropout: float = 0.0,
        init_std: float = 0.01,
        bias_multiple: float = 1.0,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        self.automatic_optimization = False
        count = codebooks_for(bits, words)
        require(0 <= codebook_start < 1, "codebook_start", codebook_start, "fractions from 0 to below 1")
        require(0 <= dropout < 1, "dropout", dropout, "fractions from 0 to below 1")
        require(gamma > 0, "gamma", gamma, "numbers above 0")
        require(0 < codebook_lr <= 1e6, "codebook_lr", codebook_lr, "numbers above 0")
        require(0 <= bias_multiple <= 1e6, "bias_multiple", bias_multiple, "numbers from 0 to 1e6")
        self.vectors_file = None if label_vectors is None else Path(label_vectors)
        width = vector_width(self.vectors_file) if self.vectors_file else width
        require(width > 0, "width", width, "1 and more")
        self.head = TwoHeads(
            backbone.width, width, num_classes, norm=feature_norm, dropout=dropout, init_std=init_std
        )
        self.codebooks = nn.Parameter(0.01 * torch.randn(count, words, width))
        self.register_buffer("label_vectors", random_vectors(num_classes, width))
        self.usage = WordUsage(count, words)
        self.latest = Latest(limit=100 * words)
        self.gamma, self.score = gamma, cosine if assignment == "angle" else nearness
        self.hinge_mean: HingeMean = hinge_mean
        self.encoder_weights = {"margin": margin_weight, "classes": lam}
        self.word_weights = {"soft": tau * soft_weight, "hard": tau * mu, "joint": tau * nu}
        self.quant_grad_to_encoder, self.two_step = quant_grad_to_encoder, two_step
        self.codebook_start, self.codebook_lr, self.init = codebook_start, codebook_lr, init
        self.clean_features, self.similarity = clean_features, similarity
        self.bias_multiple = bias_multiple
        self.words_start = 0
        self._residual_energy: Tensor | None = None

    @classmethod
    def allows_bits(cls, bits: int, words: int = 256, **settings: Any) -> None:
        """Multiples of log2(words)."""
        codebooks_for(bits, words)

    def code_lengths(self) -> tuple[int, ...]:
        """Every prefix: with 256 codewords 8, 16, 24, ... up to ``bits``."""
        count = len(self.codebooks)
        return tuple(self.bits // count * level for level in range(1, count + 1))

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """Both heads, without the codebooks, which have an optimiser of their own."""
        return self.head.parameters()

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Embedding (b, width) and class scores (b, classes)."""
        embedding, scores = self.head(features.vector)
        return at_least_float32(embedding), at_least_float32(scores)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's terms and the codewords' terms, the latter 0 before the codewords start."""
        embedding, scores = self(batch.features)
        if self._words_learn and self.clean_features and not self.quant_grad_to_encoder:
            together, embedding, scores, target = self.gather(
                batch, embedding, scores, self._clean(batch.features)
            )
        else:
            together, embedding, scores = self.gather(batch, embedding, scores)
            target = embedding if self.quant_grad_to_encoder else embedding.detach()
        with full_precision(embedding):
            return {**self._encoder_terms(embedding, scores, together.labels), **self._word_terms(target)}

    def encode(self, features: Features) -> QuantizedCodes:
        """The chosen codewords of all levels."""
        indices, codebooks = (
            as_array(self.code_values(features), "indices"),
            as_array(self.codebooks, "codebooks"),
        )
        return QuantizedCodes(indices, codebooks, "additive", self.similarity)

    def encode_queries(self, features: Features) -> RealCodes:
        """The embedding itself."""
        return RealCodes(as_array(self.query_values(features), "embeddings"), self.similarity)

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the chosen codewords."""
        embedding, _ = self(features)
        with full_precision(embedding):
            return self._quantize(embedding).indices

    def query_values(self, features: Features) -> Tensor:
        """The embedding (b, width)."""
        embedding: Tensor = self(features)[0]
        return embedding

    def embed(self, features: Features) -> RealCodes:
        """The query embedding, with the similarity of the codes."""
        return self.encode_queries(features)

    def portable_settings(self) -> dict[str, Any]:
        """The width that the file of label vectors gave; the vectors themselves are among the weights."""
        return {"label_vectors": None, "width": int(self.label_vectors.shape[1])}

    def configure_optimizers(self) -> Any:
        """The network's optimiser as ``optim`` says, and Adam for the codewords, on one schedule."""
        network = build_optimizer(self.optim, self.backbone.parameters(), self.head_parameters())
        for group in network.param_groups:
            if group["name"].endswith("_undecayed"):
                group["lr"] *= self.bias_multiple
        words = torch.optim.Adam([self.codebooks], lr=self.codebook_lr)
        both = (network, words)
        return tuple({"optimizer": each, "lr_scheduler": self.schedule(each)} for each in both)

    def setup(self, stage: str) -> None:
        """Look the class names up in the file of word vectors."""
        if stage == "fit" and self.vectors_file:
            names = getattr(getattr(self.trainer, "datamodule", None), "class_names", None)
            if names is None:
                raise InputError("method.label_vectors: needs a data module that knows its class names")
            self.label_vectors.copy_(read_vectors(self.vectors_file, names))

    def on_train_start(self) -> None:
        """Fix the epoch from which the codewords learn."""
        self.words_start = round(self.codebook_start * self.planned_epochs())

    def on_train_epoch_start(self) -> None:
        """Count the codewords in use, and keep embeddings, anew."""
        self.usage.reset()
        self.latest.clear()

    def epoch_state(self) -> dict[str, Any]:
        """The embeddings that codewords are drawn from when the epoch ends."""
        return {"latest": self.latest.state()}

    def resume_epoch(self, state: dict[str, Any]) -> None:
        """The embeddings as they were."""
        self.latest.load(state["latest"], self.device)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Rest what does not learn now: an optimiser leaves what has no gradient alone, its own state too."""
        words = any(self.codebooks is p for group in optimizer.param_groups for p in group["params"])
        resting = not self._words_learn if words else self._words_learn and self.two_step
        if resting:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Set the codewords just before they start to learn; later log their use and what they leave over."""
        if self._words_learn and self._residual_energy is not None:
            self.log("train/used_codewords", self.usage.used.float().mean())
            for level, energy in enumerate(self._residual_energy, start=1):
                self.log(f"train/residual_energy_{level}", energy)
        elif self.current_epoch == self.words_start - 1 and self.init == "kmeans":
            self._start_words(self.latest.vectors())

    def on_train_end(self) -> None:
        """Say so when most codewords are idle."""
        if complaint := self.usage.complaint():
            rank_zero_warn(f"dpq: {complaint}")

    @property
    def _words_learn(self) -> bool:
        return self.current_epoch >= self.words_start

    def _quantize(self, vectors: Tensor) -> Progressive:
        return quantize(vectors, self.codebooks, self.gamma, self.score)

    def _encoder_terms(self, embedding: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        margin = margin_loss(embedding, labels, self.label_vectors, self.hinge_mean)
        terms = {"margin": margin, "classes": class_loss(scores, labels)}
        return {name: self.encoder_weights[name] * term for name, term in terms.items()}

    def _word_terms(self, target: Tensor) -> dict[str, Tensor]:
        """L_Q; before the codewords learn it is a zero that keeps them in the graph, which DDP wants."""
        if self.training and not self._words_learn:
            self.latest.add(target)
            return dict.fromkeys(self.word_weights, 0.0 * self.codebooks.sum())
        approximations = self._quantize(target)
        if self.training:
            self._watch(target.detach(), approximations)
        terms = zip(self.word_weights.items(), quantization_losses(target, approximations), strict=True)
        return {name: weight * term for (name, weight), term in terms}

    def _watch(self, target: Tensor, approximations: Progressive) -> None:
        self.usage.add(approximations.indices)
        left = (target - approximations.hard.detach()).square().sum(dim=2)
        self._residual_energy = (left / target.square().sum(dim=1).clamp(min=1e-12)).mean(dim=1)

    @torch.no_grad()
    def _clean(self, features: Features) -> Tensor:
        self.head.eval()
        try:
            embedding, _ = self(features)
            return at_least_float32(embedding)
        finally:
            self.head.train()

    @torch.no_grad()
    def _start_words(self, residual: Tensor) -> None:
        """k-means on the residuals, level by level, by the score that assigns codewords later."""
        for level, words in enumerate(self.codebooks):
            centres = from_first_process(k_means(residual, len(words), score=self.score, seed=level))
            words.copy_(centres)
            residual = residual - centres[self.score(residual, centres).argmax(dim=-1)]
