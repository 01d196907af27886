"""The evaluator: codes and labels in, scores in [0, 1] out, exact over ties.

``evaluate(queries, gallery, query_labels, gallery_labels, protocol)`` gives an :class:`Evaluation`:
``.scores`` by name and ``.groups``, from which ``scores_from_groups(groups, protocol)`` makes the scores of
any other cutoff without codes. ``evaluate_files`` does the same for codes in ``.npz`` files, ``report`` is
what is written as JSON, and ``write_json`` writes it. Nothing here imports torch unless asked for
(``kernel="torch"``, :mod:`fghash.evaluation.metric`).
"""

from __future__ import annotations

from fghash.evaluation.evaluator import Evaluation, evaluate, scores_from_groups
from fghash.evaluation.files import evaluate_files, report, write_json
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import TieGroups
from fghash.evaluation.work import parse_memory

__all__ = [
    "Evaluation",
    "RetrievalProtocol",
    "TieGroups",
    "evaluate",
    "evaluate_files",
    "parse_memory",
    "report",
    "scores_from_groups",
    "write_json",
]
