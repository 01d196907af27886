"""The evaluator as a ``torchmetrics.Metric``, for other people's Lightning loops. Importing it imports torch.

metric = RetrievalScores(cutoffs=(10, 100))
metric.update(tanh_outputs, labels, split="gallery")   # each batch of the gallery
metric.update(tanh_outputs, labels, split="query")     # each batch of the queries
metric.compute()["map"]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from fghash.codes import BinaryCodes, Codes, RealCodes
from fghash.codes.kinds import require_choice
from fghash.codes.real import SIMILARITIES
from fghash.errors import InputError
from fghash.evaluation.evaluator import evaluate
from fghash.evaluation.protocol import RetrievalProtocol

Split = Literal["query", "gallery"]
SPLITS: tuple[Split, Split] = ("query", "gallery")


class RetrievalScores(Metric):
    """All scores of :func:`fghash.evaluation.evaluate`, from outputs gathered over batches and processes.

    ``codes``: ``binary`` (the signs of the outputs, zero is positive; only they are kept) or ``real`` (the
    outputs, compared by ``similarity``). Where a sampler may repeat items (padding in distributed training)
    pass their ``index``: an item that comes twice counts once. Every process must add at least one batch of
    each split.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(
        self,
        codes: Literal["binary", "real"] = "binary",
        similarity: str = "cosine",
        cutoffs: tuple[int, ...] = (1, 10, 100),
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if codes not in ("binary", "real"):
            raise InputError(f"codes: '{codes}', expected binary or real")
        self.codes, self.similarity = codes, require_choice(similarity, SIMILARITIES, "similarity")
        self.protocol = RetrievalProtocol(cutoffs=cutoffs)
        for split in SPLITS:
            for part in ("outputs", "labels", "index"):
                self.add_state(f"{split}_{part}", default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, labels: Tensor, split: Split, index: Tensor | None = None) -> None:
        """Add a batch: ``outputs`` (b, bits), ``labels`` (b,) or (b, classes), ``index`` (b,) in the split.

        Raises:
            InputError: an unknown split, numbers that differ, or values that are not finite.
        """
        if split not in SPLITS:
            raise InputError(f"split: '{split}', expected query or gallery")
        if len(outputs) != len(labels):
            raise InputError(f"labels: {len(labels)} for {len(outputs)} outputs, expected one an item")
        if index is not None and len(index) != len(outputs):
            raise InputError(f"index: {len(index)} for {len(outputs)} outputs, expected one an item")
        if not torch.isfinite(outputs).all():
            raise InputError("outputs: not finite, expected numbers")
        kept = outputs.detach() >= 0 if self.codes == "binary" else outputs.detach().float()
        places = torch.full((len(outputs),), -1) if index is None else index
        for part, values in (
            ("outputs", kept),
            ("labels", labels.detach()),
            ("index", places.to(kept.device)),
        ):
            getattr(self, f"{split}_{part}").append(values)

    def compute(self) -> dict[str, float | int | None]:
        """The scores by name; those without meaning are None.

        Raises:
            InputError: no query or no gallery item was added, here or on another process.
        """
        queries, query_labels = self._gathered("query")
        gallery, gallery_labels = self._gathered("gallery")
        return evaluate(queries, gallery, query_labels, gallery_labels, self.protocol).scores

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """As torchmetrics; first every process tells whether it has batches, as its gather would crash.

        Raises:
            InputError: a process has none of a split.
        """
        available = distributed_available or self.distributed_available_fn
        if should_sync and available is not None and available():
            self._require_batches(dist_sync_fn or gather_all_tensors, process_group or self.process_group)
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _require_batches(self, gather: Callable[..., Any], group: Any) -> None:
        held = [len(getattr(self, f"{split}_outputs")) for split in SPLITS]
        everywhere = gather(torch.tensor(held, device=self.device), group=group)
        for split, least in zip(SPLITS, torch.stack(everywhere).amin(dim=0).tolist(), strict=True):
            if not least:
                raise InputError(f"{split}: a process added no batch, expected at least one on each")

    def _gathered(self, split: Split) -> tuple[Codes, Tensor]:
        outputs, labels, index = (self._state(split, part) for part in ("outputs", "labels", "index"))
        chosen = _first_of_each(index)
        return self._as_codes(outputs[chosen]), labels[chosen]

    def _state(self, split: Split, part: str) -> Tensor:
        values = getattr(self, f"{split}_{part}")
        if isinstance(values, Tensor):  # torchmetrics joins the list when processes gather
            return values
        if not values:
            raise InputError(f"{split}: no batch was added, expected at least one")
        return torch.cat(values)

    def _as_codes(self, outputs: Tensor) -> Codes:
        values = outputs.cpu().numpy()
        return BinaryCodes(values) if self.codes == "binary" else RealCodes(values, self.similarity)


def _first_of_each(index: Tensor) -> Tensor:
    """Positions of the first item of each index, in its order; all positions where there is none (-1)."""
    if (index < 0).any():
        return torch.arange(len(index), device=index.device)
    values, place = torch.unique(index, return_inverse=True)
    first = torch.full((len(values),), len(index), device=index.device)
    return first.scatter_reduce_(0, place, torch.arange(len(index), device=index.device), "amin")
