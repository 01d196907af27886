"""What a row of the leaderboard costs: storage, encoding, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fghash.codes import QuantizedCodes
from fghash.errors import InputError
from fghash.store import RunFolder
from fghash.store.record import Record

COSTS = (
    "bytes_per_item", "codebook_bytes", "search_ms_per_query", "encode_images_per_second", "parameters",
    "parameters_trained", "peak_memory_mb",
)  # fmt: skip


def costs(folder: RunFolder, record: Record) -> dict[str, float | int | None]:
    """The costs of one run at one code length; ``None`` where its store does not tell."""
    try:
        provenance = folder.read_provenance()
    except (InputError, ValueError):
        provenance = {}
    parameters = _mapping(provenance, "parameters")
    return {
        "bytes_per_item": -(-record.bits // 8),
        "codebook_bytes": _codebook_bytes(folder, record),
        "search_ms_per_query": _number(
            _mapping(provenance, "search_ms_per_query").get(f"{record.bits}-{record.gallery_codes}")
        ),
        "encode_images_per_second": _encoding_rate(provenance),
        "parameters": _number(parameters.get("total")),
        "parameters_trained": _number(parameters.get("trained")),
        "peak_memory_mb": _number(provenance.get("peak_memory_mb")),
    }


def _codebook_bytes(folder: RunFolder, record: Record) -> int | None:
    """Of the gallery's codebooks, float32; 0 of binary codes."""
    try:
        gallery, _ = folder.read_codes(record.bits, record.gallery_codes, "gallery")
    except InputError:
        return None
    return int(gallery.codebooks.nbytes) if isinstance(gallery, QuantizedCodes) else 0


def _encoding_rate(provenance: Mapping[str, Any]) -> float | None:
    seconds = _number(_mapping(provenance, "seconds").get("encode"))
    images = _number(provenance.get("encoded_images"))
    return round(images / seconds, 1) if seconds and images else None


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> Any:
    return value if type(value) in (int, float) else None
