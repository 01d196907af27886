"""Asymmetric hashing: a network for some items, free binary codes for all of them, optimised in turns.

Shared by ADSH (Jiang and Li, AAAI 2018) and ExchNet (Cui, Jiang et al., ECCV 2020, section 3.4). With outputs
u_i of a sampled subset (m items), codes v_j of all n training items and q bits both minimise

    sum_ij (u_i . v_j - q S_ij)^2 + gamma sum_i |v_i - u_i|^2            (gamma = 0 in ExchNet)

S is "soft": 1 for a similar pair and -r for a dissimilar one, r = similar / dissimilar pairs of the m x n
matrix, so that S sums to 0 and unrelated classes tend to orthogonal codes. S has two values, so neither it
nor anything else of size m x n (let alone n x n) is ever built: what the code step needs of it are sums of
outputs over similar items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from fghash.batch import Batch
from fghash.errors import InputError
from fghash.layers.requirements import require
from fghash.layers.resizing import take_sizes
from fghash.layers.similarity import shared_label

_REFERENCE_BITS = (
    12  # the length at which the scaled loss is the plain mean (code of A2-Net's and SEMICON's authors)
)
_BLOCK = 2**22  # pairs of multi-hot items compared at a time
_SUBSET, _ORDER, _START = 1, 2, 3  # what random words are drawn for


def asymmetric_loss(outputs: Tensor, codes: Tensor, alike: Tensor, contrast: float | Tensor) -> Tensor:
    """Mean over a batch and all codes of (u_i . v_j - q S_ij)^2, scalar.

    Args:
        outputs: (b, q) relaxed codes in [-1, 1].
        codes: (n, q) of -1 and +1.
        alike: (b, n) booleans, whether two items are similar.
        contrast: r; dissimilar pairs have S = -r.
    """
    bits = codes.shape[1]
    with torch.autocast(outputs.device.type, enabled=False):
        target = torch.where(alike, bits, -bits * torch.as_tensor(contrast, dtype=codes.dtype))
        return (outputs.to(codes.dtype) @ codes.T - target).square().mean()


def code_step(codes: Tensor, attraction: Tensor, gram: Tensor) -> Tensor:
    """One sweep over the bits: each column of the codes becomes its exact optimum with the others fixed.

    ``V_k = sign(A_k - V_rest (U_rest^T U_k))``. ExchNet's equation 17 prints the opposite sign, which
    increases the objective; ADSH's equation 10 has this one. An entry whose argument is 0 keeps its value.

    Args:
        codes: V (n, q) of -1 and +1; left as they are.
        attraction: A (n, q) = q S^T U, plus gamma u_j in the rows of the subset.
        gram: U^T U (q, q).
    """
    codes = codes.clone()
    for bit in range(codes.shape[1]):
        weights = gram[:, bit].clone()
        weights[bit] = 0
        drive = attraction[:, bit] - codes @ weights
        codes[:, bit] = torch.where(drive == 0, codes[:, bit], drive.sign())
    return codes


def similar_pairs(labels: Tensor, others: Tensor) -> int:
    """Number of pairs that share a label."""
    if labels.ndim == 1:
        classes = int(torch.cat([labels, others]).max()) + 1
        return int(
            (torch.bincount(labels, minlength=classes) * torch.bincount(others, minlength=classes)).sum()
        )
    return sum(int(shared_label(block, others).sum()) for block in _blocks(labels, others))


def similar_sums(values: Tensor, labels: Tensor, items: Tensor) -> Tensor:
    """For each of n ``items`` the sum (n, d) of the ``values`` (m, d), labelled too, of similar ones."""
    if labels.ndim == 1:
        classes = int(torch.cat([labels, items]).max()) + 1
        return values.new_zeros(classes, values.shape[1]).index_add_(0, labels, values)[items]
    return torch.cat(
        [shared_label(block, labels).to(values.dtype) @ values for block in _blocks(items, labels)]
    )


def _blocks(labels: Tensor, others: Tensor) -> Sequence[Tensor]:
    return torch.split(labels, max(1, _BLOCK // max(1, len(others))))


def random_words(count: int, *key: int) -> np.ndarray:
    """(count,) uint64 that depend on the key only, hence the same on every process and after a resume."""
    return np.random.PCG64(key).random_raw(count)


def draw_subset(items: int, size: int, seed: int, iteration: int) -> np.ndarray:
    """Positions of the items sampled for an outer iteration: ``size`` of them, at most half of all."""
    order = np.argsort(random_words(items, _SUBSET, iteration, seed), kind="stable")
    return order[: min(size, max(1, items // 2))]


class Alternation(nn.Module):
    """The state of the alternation and its calendar; the state is in the checkpoint.

    One epoch of training is one inner epoch. An outer iteration draws a subset (:meth:`begin`), trains on it
    for ``inner_epochs`` while the latest output of every item is kept (:meth:`record`), and ends in a code
    step (:meth:`step`).

    Args:
        bits: q.
        subset: m, items of an outer iteration; never more than half of all.
        inner: inner epochs of an outer iteration, as a fraction of all epochs.
        gamma: weight of |v - u|^2.
        scaled: multiply the loss by 12 / q, so that its size depends less on the code length.

    Raises:
        InputError: ``subset`` below 1 or ``inner`` outside (0, 1].
    """

    codes: Tensor
    outputs: Tensor
    rows: Tensor
    contrast: Tensor
    steps: Tensor
    seed: Tensor
    labels: Tensor

    def __init__(
        self, bits: int, subset: int, inner: float, *, gamma: float = 0.0, scaled: bool = True
    ) -> None:
        super().__init__()
        require(subset >= 1, "subset", subset, "1 or more items")
        require(0 < inner <= 1, "inner", inner, "fractions of the epochs above 0 and up to 1")
        self.bits, self.subset, self.inner, self.epochs = bits, subset, inner, 1
        self.gamma, self.scale = gamma, _REFERENCE_BITS / bits if scaled else 1.0
        # V of all training items in dataset order; U of the subset in the order it was drawn; each item's row
        # of U, -1 for those outside; r of the soft similarity; code steps made; the run's seed at the start
        self.register_buffer("codes", torch.empty(0, bits))
        self.register_buffer("outputs", torch.empty(0, bits))
        self.register_buffer("rows", torch.empty(0, dtype=torch.long))
        self.register_buffer("contrast", torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("seed", torch.tensor(torch.initial_seed() % 2**62))
        self.register_buffer("labels", torch.empty(0, dtype=torch.long), persistent=False)

    def start(self, labels: np.ndarray | Tensor) -> SubsetSampler:
        """Take the labels of all training items; random codes, unless a checkpoint brought the codes already.

        Raises:
            InputError: the checkpoint's codes are of another number of items.
        """
        self.labels = torch.as_tensor(labels, device=self.codes.device)
        items = len(self.labels)
        if len(self.codes) not in (0, items):
            raise InputError(
                f"checkpoint: holds learned codes of {len(self.codes)} items, the data have {items}"
            )
        if not len(self.codes):
            words = random_words(items * self.bits, _START, items, int(self.seed)) >> np.uint64(63)
            signs = torch.from_numpy(words.astype(np.int64).reshape(items, self.bits) * 2 - 1)
            self.codes = signs.to(self.codes)
            self.rows = torch.full_like(
                self.labels[:, 0] if self.labels.ndim > 1 else self.labels, -1, dtype=torch.long
            )
        return SubsetSampler(self)

    def plan(self, epochs: int) -> None:
        """Fix the number of epochs that ``inner`` is a fraction of."""
        self.epochs = max(1, epochs)

    @property
    def inner_epochs(self) -> int:
        """Epochs of one outer iteration."""
        return max(1, round(self.inner * self.epochs))

    @property
    def iterations(self) -> int:
        """Outer iterations; the last one may be shorter."""
        return math.ceil(self.epochs / self.inner_epochs)

    def ends(self, epoch: int) -> bool:
        """Whether an outer iteration ends with this epoch."""
        return (epoch + 1) % self.inner_epochs == 0 or epoch + 1 == self.epochs

    def positions(self, epoch: int) -> np.ndarray:
        """The subset of this epoch's outer iteration, as dataset positions."""
        return draw_subset(len(self.labels), self.subset, int(self.seed), epoch // self.inner_epochs)

    def begin(self, epoch: int) -> None:
        """At the first epoch of an outer iteration: a new subset, outputs of zero, and its targets."""
        if epoch % self.inner_epochs:
            return
        drawn = torch.as_tensor(self.positions(epoch), device=self.labels.device)
        self.rows = torch.full_like(self.rows, -1)
        self.rows[drawn] = torch.arange(len(drawn), device=drawn.device)
        self.outputs = self.codes.new_zeros(len(drawn), self.bits)
        alike = similar_pairs(self.labels, self.labels[drawn])
        dissimilar = len(drawn) * len(self.labels) - alike
        self.contrast = self.contrast.new_tensor(alike / max(1, dissimilar))

    def terms(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The objective over a batch (outputs (b, q)) and all codes, per pair; the outputs are recorded."""
        self.record(batch.index, outputs)
        alike = shared_label(batch.labels, self.labels)
        terms = {"similarity": self.scale * asymmetric_loss(outputs, self.codes, alike, self.contrast)}
        if self.gamma:
            gaps = (outputs - self.codes[batch.index]).square().sum(1).mean()
            terms["quantisation"] = self.scale * self.gamma / len(self.codes) * gaps
        return terms

    def record(self, index: Tensor, outputs: Tensor) -> None:
        """Keep the outputs (b, q) of the items at these positions for the code step; the latest stay."""
        rows, spare = self.rows[index], len(self.outputs)  # what lies outside goes to a spare row
        kept = torch.cat([self.outputs, self.outputs.new_zeros(1, self.bits)])
        kept[torch.where(rows >= 0, rows, spare)] = outputs.detach().to(kept.dtype)
        self.outputs = kept[:-1]

    @torch.no_grad()
    def step(self) -> None:
        """The code step, in float64 on the CPU so that every process comes to the same codes."""
        outputs, rows, labels = self.outputs.cpu().double(), self.rows.cpu(), self.labels.cpu()
        drawn = rows.argsort()[-len(outputs) :]  # dataset positions in the order of the outputs' rows
        contrast = float(self.contrast)
        sums = (1 + contrast) * similar_sums(outputs, labels[drawn], labels) - contrast * outputs.sum(0)
        attraction = self.bits * sums
        attraction[drawn] += self.gamma * outputs
        self.codes = code_step(self.codes.cpu().double(), attraction, outputs.T @ outputs).to(self.codes)
        self.steps = self.steps + 1

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take the sizes of the checkpoint: how many items there are is not known before."""
        take_sizes(self, ("codes", "outputs", "rows"), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)


class SubsetSampler(Sampler[int]):
    """Dataset positions of the current outer iteration's subset, in an order of their own each epoch."""

    def __init__(self, alternation: Alternation) -> None:
        self.alternation, self.current = alternation, 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is."""
        self.current = epoch

    def __len__(self) -> int:
        return min(self.alternation.subset, max(1, len(self.alternation.labels) // 2))

    def __iter__(self) -> Iterator[int]:
        drawn = self.alternation.positions(self.current)
        words = random_words(len(drawn), _ORDER, self.current, int(self.alternation.seed))
        return iter(drawn[np.argsort(words, kind="stable")].tolist())
