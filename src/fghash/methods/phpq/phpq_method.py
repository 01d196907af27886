"""PHPQ as a method: the two phases of its training, its codes and its monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from fghash.backbone import Backbone
from fghash.batch import Batch, Features, Reads
from fghash.codes import QuantizedCodes, RealCodes
from fghash.codes.kinds import as_array
from fghash.layers.precision import full_precision
from fghash.layers.quantizers import Latest, WordUsage, codebooks_for, k_means
from fghash.layers.requirements import require
from fghash.layers.similarity import shared_label
from fghash.methods.base import HashingMethod
from fghash.methods.optim import build_optimizer
from fghash.methods.phpq.phpq_head import ClassHead, LevelNorm, Pool, Projection, PyramidHybridPooling
from fghash.methods.phpq.phpq_loss import Detach, asymmetric_triplet, class_loss, commitment, entropy
from fghash.methods.phpq.phpq_quantizer import ProductQuantizer, Quantized
from fghash.settings.config import OptimConfig


class PHPQ(HashingMethod):
    """Pyramid hybrid pooling and a product quantizer with partial codebook attention; search is asymmetric.

    Args:
        levels: levels of the backbone whose maps are pooled; ``(4,)`` with ``pool="avg"`` is "no pyramid".
        pool: ``avg``, ``max``, their ``sum``, ``concat`` or learned ``mix``, or the generalised mean ``gem``.
        lateral: width of a 1x1 convolution, BatchNorm and ReLU before pooling; ``null`` is none.
        level_norm: what brings the levels to one scale: ``bn`` (BatchNorm), ``l2`` or ``none``.
        proj: from the pooled levels to the embedding: ``linear``, or ``mlp`` with a hidden layer.
        words: codewords of a codebook, a power of two; ``bits`` is a multiple of its logarithm.
        sub_dim: width of a sub-vector and of its codewords.
        kappa: codewords that share the attention of a sub-vector; ``words`` is full attention.
        alpha: sharpness of the attention.
        codebook: ``tied``, or ``dual`` with keys to choose codewords by and values to read.
        ste: straight-through: forward the chosen codeword, backward the attention; off: the attention in
            both.
        init: ``kmeans`` (after a warm start on the real embedding), ``gaussian`` or ``xavier``.
        warm: fraction of the epochs (one at least) of that warm start.
        reseed_until: fraction of the training in which codewords that an epoch did not use are drawn again.
        codebook_multiple: learning rate of the codewords over that of the head.
        classifier: ``normalised`` (cosines times ``scale``) or ``linear``.
        scale: of the normalised classifier.
        loss_q: weight of the cross-entropy of the quantized embedding.
        loss_z: weight of the cross-entropy of the real embedding.
        lam_q: weight of the squared distance between sub-vectors and their codewords.
        detach: whether that distance trains ``features`` or ``words`` not at all, or both (``none``).
        lam_e: weight of the attention's entropy.
        triplet: weight of the triplets of real anchors and quantized items.
        margin: of the triplets, in cosine.
        normalised_query: whether queries have unit sub-vectors, as codes do, or keep their lengths.

    Raises:
        InputError: a value out of its range.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        levels: tuple[int, ...] = (2, 3, 4),
        pool: Pool = "sum",
        lateral: int | None = None,
        level_norm: LevelNorm = "bn",
        proj: Projection = "linear",
        words: int = 256,
        sub_dim: int = 64,
        kappa: int = 16,
        alpha: float = 20.0,
        codebook: Literal["tied", "dual"] = "tied",
        ste: bool = True,
        init: Literal["kmeans", "gaussian", "xavier"] = "kmeans",
        warm: float = 0.1,
        reseed_until: float = 0.5,
        codebook_multiple: float = 1.0,
        classifier: Literal["normalised", "linear"] = "normalised",
        scale: float = 20.0,
        loss_q: float = 1.0,
        loss_z: float = 1.0,
        lam_q: float = 0.0,
        detach: Detach = "none",
        lam_e: float = 0.0,
        triplet: float = 0.0,
        margin: float = 0.3,
        normalised_query: bool = True,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim)
        count = codebooks_for(bits, words)
        _check(levels, words, sub_dim, kappa, alpha, warm)
        multiple = codebook_multiple
        require(0 <= multiple <= 1e6, "codebook_multiple", multiple, "numbers from 0 to 1e6")
        self.head = PyramidHybridPooling(
            backbone.channels,
            count * sub_dim,
            levels=levels,
            pool=pool,
            lateral=lateral,
            level_norm=level_norm,
            proj=proj,
        )
        self.quantizer = ProductQuantizer(
            count,
            words,
            sub_dim,
            kappa=kappa,
            alpha=alpha,
            dual=codebook == "dual",
            ste=ste,
            xavier=init == "xavier",
        )
        self.classifier = ClassHead(
            count * sub_dim, num_classes, scale if classifier == "normalised" else None
        )
        self.usage = WordUsage(count, words)
        self.latest = Latest(limit=100 * words)
        self.term_weights = _weights(loss_q, loss_z, lam_q, lam_e, triplet)
        self.init, self.warm, self.reseed_until = init, warm, reseed_until
        self.codebook_multiple, self.normalised_query = codebook_multiple, normalised_query
        self.detach: Detach = detach
        self.margin = margin
        self.words_start = 0
        self.reads = Reads(levels=tuple(levels))
        backbone.rest_after(max(levels))  # DDP would wait for gradients of later stages

    @classmethod
    def allows_bits(cls, bits: int, words: int = 256, **settings: Any) -> None:
        """Multiples of log2(words)."""
        codebooks_for(bits, words)

    def forward(self, features: Features) -> Tensor:
        """The embedding (b, m * d) before it is normalised and quantized."""
        embedding: Tensor = self.head(features.maps)
        return embedding

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the quantized and of the real embedding, and the terms that are switched on.

        During the warm start the codewords' terms weigh 0 but keep their place in the graph, which DDP wants.
        """
        together, embeddings = self.gather(batch, self(batch.features))
        quantized = self.quantizer(embeddings)
        weights = self.term_weights
        if self.current_epoch < self.words_start:
            weights = {**dict.fromkeys(weights, 0.0), "real": weights["real"] or 1.0}
        if self.training:
            self._watch(quantized)
        with full_precision(embeddings):
            terms = self._terms(quantized, together.labels)
            return {name: weight * terms[name]() for name, weight in weights.items()}

    def encode(self, features: Features) -> QuantizedCodes:
        """The chosen codewords, with the unit codebooks."""
        indices = as_array(self.code_values(features), "indices")
        return QuantizedCodes(indices, as_array(self.quantizer.codebooks(), "codebooks"), "product", "dot")

    def encode_queries(self, features: Features) -> RealCodes:
        """The real embedding, of unit length in each sub-space unless ``normalised_query`` is off."""
        return RealCodes(as_array(self.query_values(features), "embeddings"), "dot")

    def code_values(self, features: Features) -> Tensor:
        """Indices (b, m) of the chosen codewords."""
        indices: Tensor = self.quantizer(self(features)).indices
        return indices

    def query_values(self, features: Features) -> Tensor:
        """The real embedding (b, m * d), as :meth:`encode_queries`."""
        embeddings: Tensor = self(features)
        return self.quantizer.normalised(embeddings).flatten(1) if self.normalised_query else embeddings

    def embed(self, features: Features) -> RealCodes:
        """The query embedding, compared by the same inner product."""
        return self.encode_queries(features)

    def configure_optimizers(self) -> Any:
        """Backbone and head as ``optim`` says; the codewords without decay, which means nothing on the
        sphere.
        """
        head = [*self.head.parameters(), *self.classifier.parameters()]
        optimizer = build_optimizer(self.optim, self.backbone.parameters(), head)
        lr = self.optim.lr * self.optim.head_multiple * self.codebook_multiple
        words = [codebooks for codebooks in self.quantizer.parameters() if codebooks.requires_grad]
        optimizer.add_param_group({"name": "codebooks", "params": words, "lr": lr, "weight_decay": 0.0})
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}

    def on_train_start(self) -> None:
        """Fix the epoch from which the codewords learn."""
        epochs = self.planned_epochs()
        self.words_start = min(max(1, round(self.warm * epochs)), epochs - 1) if self.init == "kmeans" else 0

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

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Keep the codewords on the unit sphere."""
        self.quantizer.normalise()

    def on_train_epoch_end(self) -> None:
        """Set the codewords when the warm start ends; later log how many are in use and revive the others."""
        epoch = self.current_epoch
        if epoch == self.words_start - 1:
            books = self.latest.vectors().unbind(dim=1)
            words = [k_means(vectors, self.usage.words, seed=book) for book, vectors in enumerate(books)]
            self.quantizer.set_words(torch.stack(words))
        elif epoch >= self.words_start:
            self.log("train/used_codewords", self.usage.used.float().mean())
            if epoch + 1 < self.reseed_until * self.planned_epochs():
                self.quantizer.revive(self.usage.dead, self.latest.vectors(), seed=epoch)

    def on_train_end(self) -> None:
        """Say so when most codewords are idle."""
        if complaint := self.usage.complaint():
            rank_zero_warn(f"phpq: {complaint}")

    def _terms(self, quantized: Quantized, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
        real, code = quantized.real.flatten(1), quantized.code.flatten(1)
        return {
            "quantized": lambda: class_loss(self.classifier(code), labels),
            "real": lambda: class_loss(self.classifier(real), labels),
            "commitment": lambda: commitment(quantized.real, quantized.hard, self.detach),
            "entropy": lambda: entropy(quantized.attention),
            "triplet": lambda: asymmetric_triplet(real, code, shared_label(labels), self.margin),
        }

    def _watch(self, quantized: Quantized) -> None:
        self.latest.add(quantized.real)
        if self.current_epoch >= self.words_start:
            self.usage.add(quantized.indices)


def _weights(loss_q: float, loss_z: float, lam_q: float, lam_e: float, triplet: float) -> dict[str, float]:
    """The terms of the loss with their weights; the two that reach every parameter stay in at weight 0."""
    given = {"loss_q": loss_q, "loss_z": loss_z, "lam_q": lam_q, "lam_e": lam_e, "triplet": triplet}
    for name, weight in given.items():
        require(weight >= 0, name, weight, "weights from 0 up")
    require(loss_q + loss_z + triplet > 0, "loss_q", loss_q, "weights above 0 where loss_z and triplet are 0")
    names = ("quantized", "real", "commitment", "entropy", "triplet")
    weights = dict(zip(names, given.values(), strict=True))
    return {name: weight for name, weight in weights.items() if weight or name in ("quantized", "real")}


def _check(levels: tuple[int, ...], words: int, sub_dim: int, kappa: int, alpha: float, warm: float) -> None:
    """Refuse values out of their range."""
    right_levels = len(levels) > 0 and len(set(levels)) == len(levels) and set(levels) <= {1, 2, 3, 4}
    require(right_levels, "levels", levels, "different levels from 1 to 4")
    require(1 <= kappa <= words, "kappa", kappa, f"1 to {words}, the number of codewords")
    require(sub_dim > 0, "sub_dim", sub_dim, "1 and more")
    require(alpha > 0, "alpha", alpha, "numbers above 0")
    require(0 <= warm < 1, "warm", warm, "fractions from 0 to below 1")
