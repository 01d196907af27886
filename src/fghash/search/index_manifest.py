"""What an index is, and whether its files are what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.files import checksum
from fghash.search.engines import STRUCTURES
from fghash.store.parsing import read_json

MANIFEST = "manifest.json"
VERSION = 1
_KINDS = {kind.__name__: kind for kind in STRUCTURES}


@dataclass(frozen=True)
class Manifest:
    """What an index is.

    Args:
        kind: of the codes: ``BinaryCodes``, ``QuantizedCodes`` or ``RealCodes``.
        structure: ``flat``, ``ivf``, ``hnsw`` or ``exact``.
        bits: of an item.
        padded_bits: that faiss works on: ``bits`` of binary codes filled up to whole bytes.
        items: how many.
        files: by role (``items``, ``engine``, ``vectors``): name, bytes and SHA-256.
        facts: what made the codes (:class:`fghash.search.coded_items.CodedItems`), and ``protocol``.
        settings: ``lists`` and ``links``.
        vectors: what made the vectors for re-ranking: ``encoder``, ``run``, ``similarity``; empty without.
        generation: counts the changes.
        version: of this format.
    """

    kind: str
    structure: str
    bits: int
    padded_bits: int
    items: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, int | None] = field(default_factory=dict)
    vectors: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    version: int = VERSION

    @property
    def encoder(self) -> str:
        """Of the codes, by content; empty where it is not known."""
        return str(self.facts.get("encoder", ""))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the labels; empty where they are not known."""
        return tuple(str(name) for name in self.facts.get("class_names", ()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"index: '{folder}' is not an index (no {MANIFEST}); fghash index makes one")
    try:
        values = read_json(path, limit=None)
        if values.get("version") != VERSION:
            raise damaged(folder, f"version {values.get('version')!r}, expected {VERSION}")
        manifest = Manifest(**values)
        names = [str(about["name"]) for about in manifest.files.values()]
        sound = (
            manifest.kind in _KINDS
            and manifest.structure in STRUCTURES[_KINDS[manifest.kind]]
            and "items" in manifest.files
            and all(Path(name).name == name for name in names)
            and isinstance(manifest.facts, dict)
            and isinstance(manifest.settings, dict)
            and isinstance(manifest.vectors, dict)
            and type(manifest.generation) is int
        )
    except InputError as error:
        text = str(error)
        raise error if text.startswith("index:") else damaged(folder, text) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(folder, str(error)) from None
    if not sound:
        raise damaged(folder, "a manifest that does not hold together")
    return manifest


def described(path: Path) -> dict[str, Any]:
    """Name, bytes and SHA-256 of a file."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": checksum(path)}


def verify(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse a file of an index that is not what was written.

    Raises:
        InputError: it is missing, or differs.
    """
    path = folder / str(about["name"])
    if not path.is_file():
        raise damaged(folder, f"{path.name} is missing")
    size = path.stat().st_size
    if size != about.get("bytes"):
        raise damaged(folder, f"{path.name} has {size:,} bytes, expected {about.get('bytes')}")
    if checksum(path) != about.get("sha256"):
        raise damaged(folder, f"{path.name} is not what was written (its checksum differs)")


def damaged(folder: Path, reason: str) -> InputError:
    """The one line about an index that is."""
    return InputError(f"index: '{folder}' is damaged: {reason}; build it again")
