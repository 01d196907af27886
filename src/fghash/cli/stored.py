"""What the scoring commands read of a stored run; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fghash.errors import InputError

if TYPE_CHECKING:
    from fghash.evaluation import TieGroups
    from fghash.store import Record

Kind = tuple[int, str]  # bits, gallery codes


def finished(path: Path) -> dict[Kind, Record]:
    """One record of each kind of codes in a run's folder.

    Raises:
        InputError: ``path`` is not the folder of a finished run.
    """
    from fghash.store import RunFolder

    records = {(record.bits, record.gallery_codes): record for record in RunFolder(path).records()}
    if not records:
        raise InputError(
            f"run: {path} is not the folder of a finished run (runs/<data>/<method>/<bits>/<run id>)"
        )
    return records


def groups_of(path: Path, kind: Kind) -> TieGroups:
    """The tie groups that a run stores for codes of this kind.

    Raises:
        InputError: it stores none, or the file is damaged.
    """
    from fghash.store import RunFolder

    groups = RunFolder(path).read_groups(*kind)
    if groups is None:
        raise InputError(f"run: {path} has no tie groups of its {in_words(kind)} codes")
    return groups


def in_words(kind: Kind) -> str:
    """``32-bit network``."""
    return f"{kind[0]}-bit {kind[1]}"
