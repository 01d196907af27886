"""The evaluator: codes and labels in, scores in [0, 1] out, exact over ties.

``evaluate(queries, gallery, query_labels, gallery_labels, protocol)`` gives an :class:`Evaluation`:
``.scores`` by name and ``.groups``, from which ``scores_from_groups(groups, protocol)`` makes the scores of
any other cutoff without codes. ``evaluate_files`` does the same for codes in ``.npz`` files, ``report`` is
what is written as JSON, and ``write_json`` writes it. Nothing here imports torch unless requested
(``kernel="torch"``, :mod:`fghash.evaluation.metric`).
"""

from __future__ import annotations

from fghash.evaluation.code_files import convention_table_files, evaluate_files, report, write_json
from fghash.evaluation.conventions import CONVENTIONS, OWN
from fghash.evaluation.curves import write_curves
from fghash.evaluation.evaluator import Evaluation, convention_table, evaluate
from fghash.evaluation.group_scores import scores_by_query, scores_from_groups
from fghash.evaluation.intervals import bootstrap_intervals, compare
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.evaluation.ranking import TieGroups
from fghash.evaluation.text import format_comparison, format_table
from fghash.evaluation.work import parse_memory

__all__ = [
    "CONVENTIONS",
    "OWN",
    "Evaluation",
    "RetrievalProtocol",
    "TieGroups",
    "bootstrap_intervals",
    "compare",
    "convention_table",
    "convention_table_files",
    "evaluate",
    "evaluate_files",
    "format_comparison",
    "format_table",
    "parse_memory",
    "report",
    "scores_by_query",
    "scores_from_groups",
    "write_curves",
    "write_json",
]
