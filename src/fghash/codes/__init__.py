"""Codes: what a gallery stores. Distances: smaller = closer."""

from __future__ import annotations

from fghash.codes.archives import load_codes, save_codes
from fghash.codes.binary import BinaryCodes
from fghash.codes.joining import concatenate
from fghash.codes.kinds import Codes
from fghash.codes.labels import as_labels
from fghash.codes.quantized import QuantizedCodes
from fghash.codes.real import RealCodes

__all__ = [
    "BinaryCodes",
    "Codes",
    "QuantizedCodes",
    "RealCodes",
    "as_labels",
    "concatenate",
    "load_codes",
    "save_codes",
]
