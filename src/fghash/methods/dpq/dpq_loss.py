"""Progressive quantization and the terms of DPQ's loss, as pure functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fghash.layers.precision import at_least_float32
from fghash.layers.quantizers import Score, cosine

HingeMean = Literal["all", "active"]


class Progressive(NamedTuple):
    """b vectors approximated by the first 1..m levels: ``soft``, ``hard`` (m, b, d); ``indices`` (b, m)."""

    soft: Tensor
    hard: Tensor
    indices: Tensor


def quantize(vectors: Tensor, codebooks: Tensor, gamma: float = 1.0, score: Score = cosine) -> Progressive:
    """Approximate vectors (b, d) by sums of codewords, level by level, with codebooks (m, k, d).

    Each level scores the residual that the chosen codewords of the levels before left over: ``hard`` adds the
    best codeword, ``soft`` the mean of all codewords under softmax(``gamma`` * score). Gradients flow through
    residuals into earlier codebooks, as in the official code.
    """
    residual = at_least_float32(vectors)
    soft, hard, indices = [], [], []
    for words in at_least_float32(codebooks):
        scores = score(residual, words)
        chosen = scores.argmax(dim=-1)
        soft.append((gamma * scores).softmax(dim=-1) @ words)
        hard.append(words[chosen])
        indices.append(chosen)
        residual = residual - words[chosen]
    return Progressive(torch.stack(soft).cumsum(0), torch.stack(hard).cumsum(0), torch.stack(indices, dim=1))


def quantization_losses(vectors: Tensor, approximations: Progressive) -> tuple[Tensor, Tensor, Tensor]:
    """The three parts of L_Q: errors of the soft path, errors of the hard path, the gap between the paths.

    Each error is a mean square over batch and dimensions; those of all levels are added, the gap is that of
    the last level alone (official code).
    """
    soft = (vectors - approximations.soft).square().mean(dim=(1, 2)).sum()
    hard = (vectors - approximations.hard).square().mean(dim=(1, 2)).sum()
    joint = (approximations.soft[-1] - approximations.hard[-1]).square().mean()
    return soft, hard, joint


def margin_loss(embeddings: Tensor, labels: Tensor, label_vectors: Tensor, mean: HingeMean = "all") -> Tensor:
    """Hinge that pulls an embedding to its class's vector more than to others' (DVSQ's adaptive margin, L_S).

    For each label i of an item x and each class j: max(0, delta_ij - cos(v_i, x) + cos(v_j, x)) with delta_ij
    = 1 - cos(v_i, v_j), so classes of similar names need a smaller gap. Averaged over all those terms, or
    over the ``active`` ones (those above 0), which keeps its strength where few of many classes are confused.
    ``embeddings`` (b, d); ``labels`` (b,) or multi-hot (b, classes); ``label_vectors`` (classes, d), no
    gradient.
    """
    cosines = cosine(embeddings, label_vectors)
    margins = 1 - cosine(label_vectors, label_vectors)
    margins = margins - margins.diagonal().diag()  # rounding must not leave a margin of a class to itself
    items, classes = label_pairs(labels)
    own = cosines[items, classes].unsqueeze(1)
    hinges = (margins[classes] - own + cosines[items]).clamp(min=0)
    counted = torch.ones_like(hinges) if mean == "all" else hinges > 0
    return hinges.sum() / counted.sum().clamp(min=1)


def label_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Items and classes of all (item, label) pairs of labels (b,) or multi-hot (b, classes)."""
    if labels.ndim == 1:
        return torch.arange(len(labels), device=labels.device), labels
    items, classes = labels.nonzero(as_tuple=True)
    return items, classes


def class_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of labels (b,); sigmoid cross-entropy, a mean over classes, of multi-hot ones."""
    if labels.ndim == 1:
        return functional.cross_entropy(scores, labels)
    return functional.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))
