"""Baselines, registered through the public entry point that any other package would use.

What ``setup.cfg`` lists under ``fghash.methods``: names of entries, nothing heavy is imported.
"""

from __future__ import annotations

from fghash.registry import MethodInfo

ADSH = MethodInfo(
    target="fghash_baselines.adsh:ADSH",
    summary="asymmetric pairs, codes of the training items optimised in turns (baseline)",
    paper="Asymmetric Deep Supervised Hashing",
    year=2018,
    certainty="very high: paper and official code",
)

TRIPLET = MethodInfo(
    target="fghash_baselines.triplet:Triplet",
    summary="triplets of the batch on tanh codes (baseline)",
    paper="none of its own; the code of FPH's lab",
    certainty="high: code of the lab",
)
