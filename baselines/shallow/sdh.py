"""SDH: supervised discrete hashing (Shen, Shen, Liu and Shen, CVPR 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fghash.backbone import Backbone
from fghash.layers.asymmetric import code_step
from fghash.layers.requirements import require
from fghash.settings.config import OptimConfig

from .anchors import KernelMethod, gram_factor
from .projections import one_hot


@dataclass(frozen=True)
class Weights:
    """``lam`` of |W|^2 and ``nu`` of |B - F(X)|^2 (eq. 4)."""

    lam: float
    nu: float


def objective(y: Tensor, codes: Tensor, w: Tensor, f: Tensor, weights: Weights) -> float:
    """|Y - BW|^2 + lambda |W|^2 + nu |B - F(X)|^2 (eq. 4); Y (n, c), B and F (n, bits), W (bits, c)."""
    fit = (y - codes @ w).square().sum()
    return float(fit + weights.lam * w.square().sum() + weights.nu * (codes - f).square().sum())


def classifier(y: Tensor, codes: Tensor, lam: float) -> Tensor:
    """W-step: ridge regression of the classes on the codes (eq. 5), (bits, c)."""
    gram = codes.T @ codes + lam * torch.eye(codes.shape[1], dtype=codes.dtype)
    weights: Tensor = torch.linalg.solve(gram, codes.T @ y)
    return weights


def discrete_codes(y: Tensor, codes: Tensor, w: Tensor, f: Tensor, nu: float, sweeps: int = 10) -> Tensor:
    """B-step: discrete cyclic coordinate descent (eq. 10), a bit of all items at a time, until nothing
    changes; one sweep is ADSH's code step.
    """
    attraction, gram = y @ w.T + nu * f, w @ w.T
    for _ in range(sweeps):
        before, codes = codes, code_step(codes, attraction, gram)
        if torch.equal(before, codes):
            break
    return codes


class SDH(KernelMethod):
    """Codes that a linear classifier reads, and a kernel regression onto them.

    Args:
        normalise: divide every vector by its length before it is centred.
        anchors: of the kernel features (paper: 1000); no more than there are training items.
        lam: lambda, of the classifier's weights (paper: 1).
        nu: of the distance between codes and regression (paper: 1e-5).
        iterations: of the three steps in turns (paper: 5).
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        bits: int,
        optim: OptimConfig,
        *,
        normalise: bool = True,
        anchors: int = 1000,
        lam: float = 1.0,
        nu: float = 1e-5,
        iterations: int = 5,
    ) -> None:
        super().__init__(backbone, num_classes, bits, optim, normalise, anchors)
        require(0 < lam <= 1e9, "lam", lam, "numbers above 0, up to 1e9")
        require(0 < nu <= 1e9, "nu", nu, "numbers above 0, up to 1e9")
        require(1 <= iterations <= 1000, "iterations", iterations, "1 to 1000")
        self.weights, self.iterations = Weights(lam, nu), iterations

    def projected(self, phi: Tensor, labels: Tensor) -> Tensor:
        """P (anchors, bits), with which phi P is close to the codes found.

        Classifier, codes and regression in turns, each step the best with the others as they are.
        """
        y = one_hot(labels, self.num_classes)
        codes = torch.randint(0, 2, (len(phi), self.bits)).double() * 2 - 1
        factor = gram_factor(phi)
        for _ in range(self.iterations):
            projection = torch.cholesky_solve(phi.T @ codes, factor)
            w = classifier(y, codes, self.weights.lam)
            codes = discrete_codes(y, codes, w, phi @ projection, self.weights.nu)
        return torch.cholesky_solve(phi.T @ codes, factor)
