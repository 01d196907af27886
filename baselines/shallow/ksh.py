"""KSH: supervised hashing with kernels (Liu, Wang, Ji, Jiang and Chang, CVPR 2012)."""

from __future__ import annotations

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.layers.requirements import require
from fghash.layers.similarity import shared_label
from fghash.settings.config import OptimConfig

from .anchors import KernelMethod, gram_factor
from .projections import signs


def bit_objective(code: Tensor, residue: Tensor) -> float:
    """-h^T R h, what one bit minimises (eq. 12) of codes h (l,) and what earlier bits left over (l, l)."""
    return -float(code @ residue @ code)


def spectral_start(k: Tensor, residue: Tensor) -> Tensor:
    """a (m,) that minimises -a^T K^T R K a with |K a|^2 = l, the signs left out (eq. 14)."""
    factor = gram_factor(k)
    pulled = torch.linalg.solve_triangular(factor, k.T @ residue @ k, upper=False)
    pulled = torch.linalg.solve_triangular(factor, pulled.T, upper=False)
    _, vectors = torch.linalg.eigh((pulled + pulled.T) / 2)
    found: Tensor = torch.linalg.solve_triangular(factor.T, vectors[:, -1:], upper=True)[:, 0]
    return found * (len(k) / (k @ found).square().sum().clamp_min(1e-300)).sqrt()


def smoothed(a: Tensor, k: Tensor, residue: Tensor, steps: int) -> Tensor:
    """Descent on the objective with the sign replaced by 2 sigmoid(x) - 1 (eq. 15 and 16).

    A step that does not lower it is halved; the descent ends where none does.
    """

    def value_and_gradient(a: Tensor) -> tuple[float, Tensor]:
        soft = torch.tanh(k @ a / 2)
        pull = residue @ soft
        return -float(soft @ pull), -k.T @ (pull * (1 - soft.square()))

    value, gradient = value_and_gradient(a)
    rate = float(a.norm() / gradient.norm().clamp_min(1e-300)) / 10
    for _ in range(steps):
        tried = a - rate * gradient
        new_value, new_gradient = value_and_gradient(tried)
        if new_value < value:
            a, value, gradient, rate = tried, new_value, new_gradient, 1.5 * rate
        else:
            rate /= 4
    return a


def hash_functions(k: Tensor, similar: Tensor, bits: int, steps: int) -> Tensor:
    """A (m, bits) of centred kernel features ``k`` (l, m): bit after bit for what the bits before left over.

    ``similar`` (l, l) is 1 or -1. The smoothed solution is kept where its signs are better than those of the
    spectral one (algorithm 1).
    """
    residue = bits * similar
    columns = []
    for _ in range(bits):
        start = spectral_start(k, residue)
        found = smoothed(start, k, residue, steps)
        best = min((start, found), key=lambda a: bit_objective(signs(k @ a), residue))
        code = signs(k @ best)
        residue = residue - code[:, None] * code[None, :]
        columns.append(best)
    return torch.stack(columns, dim=1)


class KSH(KernelMethod):
    """Kernel hash functions whose codes' inner products approximate the similarity of pairs.

    Args:
        normalise: divide every vector by its length before it is centred.
        anchors: m, of the kernel (paper: 300); no more than there are training items.
        labelled: l, items whose pairs are learned from (paper: 1000 to 5000); no more than there are.
        steps: of the descent for each bit.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        anchors: int = 300,
        labelled: int = 2000,
        steps: int = 50,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise, anchors)
        require(1 <= labelled <= 20_000, "labelled", labelled, "1 to 20000 (memory grows with its square)")
        require(0 <= steps <= 10_000, "steps", steps, "0 to 10000")
        self.labelled, self.steps = labelled, steps

    def projected(self, phi: Tensor, labels: Tensor) -> Tensor:
        """The hash functions of a part of the items."""
        some = torch.randperm(len(phi))[: self.labelled]
        similar = shared_label(labels[some]).double() * 2 - 1
        return hash_functions(phi[some], similar, self.bits, self.steps)
