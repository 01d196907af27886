"""The gallery of a stored run as items of an index, with the vectors for re-ranking that are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fghash.api import class_names_of, load_run
from fghash.codes import RealCodes
from fghash.errors import InputError
from fghash.search.bulk_encoding import facts_of
from fghash.search.coded_items import SUFFIXES, CodedItems, load_items
from fghash.store import RunFolder

OWN = "own"


def items_of_run(path: Path, bits: int | None = None, vectors: bool = False) -> CodedItems:
    """The gallery's network codes with ids and labels.

    Args:
        path: the run's folder.
        bits: of nested codes; by default the longest.
        vectors: with the real embeddings that the run stores.

    Raises:
        InputError: not finished, no codes of that length, or no embeddings.
    """
    folder = RunFolder(path)
    records = [record for record in folder.records() if record.gallery_codes == "network"]
    stored = folder.lengths()
    if not records or not stored:
        raise InputError(
            f"run: '{path}' is not the folder of a finished run with codes (a bundle has none: encode images "
            "with it)"
        )
    bits = stored[-1] if bits is None else bits
    if bits not in stored:
        raise InputError(f"--bits: {bits}, expected one of {', '.join(map(str, stored))}, which '{path}' has")
    codes, labels = folder.read_codes(bits, "network", "gallery")
    names = folder.read_items("gallery") or [str(i) for i in range(len(codes))]
    run = load_run(path)
    facts: dict[str, Any] = {**facts_of(run), "bits": bits, "split": "gallery"}
    facts |= {"protocol": records[-1].protocol, "class_names": list(class_names_of(path))}
    if run.config.data.settings.get("root"):
        facts["folder"] = str(Path(str(run.config.data.settings["root"])).expanduser().absolute())
    real = None
    if vectors:
        found = folder.read_embeddings("gallery")
        if found is None:
            raise InputError(
                f"--vectors: '{path}' stores no real embeddings, expected a run made with --store_embeddings "
                "true, or the path of another run or file of vectors"
            )
        real = found[0]
    return CodedItems(codes, np.array(names, dtype=np.str_), labels, real, facts)


def with_vectors_of(items: CodedItems, path: Path) -> tuple[CodedItems, dict[str, Any]]:
    """The items with real vectors of another run on the same data, or of a file; and what made these.

    Raises:
        InputError: no real vectors, or not of all these items.
    """
    if path.suffix in SUFFIXES:
        other = load_items(path)
        real, about = other.vectors, {key: other.facts.get(key, "") for key in ("encoder", "run")}
        real = other.codes if isinstance(other.codes, RealCodes) else real
        names = other.ids
    else:
        folder = RunFolder(path)
        stored = folder.lengths()
        if not stored:
            raise InputError(f"--vectors: '{path}' is neither a finished run nor a file of codes")
        codes, _ = folder.read_codes(stored[-1], "network", "gallery")
        found = folder.read_embeddings("gallery")
        real = codes if isinstance(codes, RealCodes) else found[0] if found else None
        names = np.array(folder.read_items("gallery") or [], dtype=np.str_)
        facts = facts_of(load_run(path))
        about = {key: facts[key] for key in ("encoder", "run")}
    if real is None:
        raise InputError(f"--vectors: '{path}' has no real vectors")
    places = {name: i for i, name in enumerate(names.tolist())}
    missing = [name for name in items.ids.tolist() if name not in places]
    if missing:
        raise InputError(f"--vectors: '{path}' has none of {len(missing):,} items, the first: {missing[0]}")
    order = [places[name] for name in items.ids.tolist()]
    return replace(items, vectors=real.take(order)), about
