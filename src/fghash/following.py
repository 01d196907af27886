"""What people look at of a finished run in W&B: curves, images that were found, where codes come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pytorch_lightning.loggers import Logger

from fghash.data.datamodule import RetrievalDataModule
from fghash.display import harmless
from fghash.evaluation.curves import ranks_curve
from fghash.evaluation.neighbours import nearest
from fghash.scoring import Scored
from fghash.training.tracking import Followed, Retrieval, follows, log_artifacts, log_curve, log_retrievals

_QUERIES, _ITEMS, _SIDE = 12, 5, 96


def log_results(
    loggers: Sequence[Logger], followed: Followed, data: RetrievalDataModule, scored: Scored, name: str
) -> None:
    """Where W&B follows: curves, some queries with what is found for them, and the lineage of the codes.

    Args:
        loggers: of the training.
        followed: what they were told of the run.
        data: with the items that were encoded.
        scored: the first codes of the run.
        name: of the data set.
    """
    if not follows(loggers):
        return
    if (scored.groups.n_relevant > 0).any():
        log_curve(loggers, ranks_curve(scored.groups))
    if data.given_width is None and data.features is None and scored.gallery_codes == "network":
        log_retrievals(loggers, _retrievals(data, scored))
    facts = {"name": name, "fingerprint": data.fingerprint, "description": data.description}
    log_artifacts(loggers, followed, facts)


def _retrievals(data: RetrievalDataModule, scored: Scored) -> list[Retrieval]:
    """A few queries, evenly drawn, and their nearest items."""
    queries, gallery = data.query_items, data.gallery_items
    chosen = np.unique(np.linspace(0, len(queries) - 1, _QUERIES).astype(np.int64))
    found, _ = nearest(scored.queries.take(chosen), scored.gallery, min(_ITEMS, len(gallery)))
    return [
        Retrieval(
            queries.read(int(query), short_side=_SIDE),
            _named(queries.labels[query], data.class_names),
            [gallery.read(int(item), short_side=_SIDE) for item in items],
            [_named(gallery.labels[item], data.class_names) for item in items],
        )
        for query, items in zip(chosen, found, strict=True)
    ]


def _named(label: np.ndarray, names: Sequence[str]) -> str:
    """The class of a label, or the classes of a multi-hot one."""
    classes = np.flatnonzero(label).tolist() if np.ndim(label) else [int(label)]
    return harmless(", ".join(str(names[each]) for each in classes))
