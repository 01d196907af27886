"""The codes that a store holds, to be compared bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def stored_codes(runs: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """Every array of every file of codes below a runs folder, by its place in its run."""
    found = {}
    for path in sorted(runs.glob("*/*/*/*/codes/*/[!.]*.npz")):
        with np.load(path) as arrays:
            found |= {(path.parent.name, path.name, key): arrays[key] for key in arrays.files}
    return found
