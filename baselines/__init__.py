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

CLASSIFY = MethodInfo(
    target="fghash_baselines.classify:Classify",
    summary="cross-entropy of a linear classifier on tanh bits (baseline)",
    paper="none of its own; the classification loss of many hashing papers, alone",
    certainty="high: nothing to reconstruct",
)

TRIPLET = MethodInfo(
    target="fghash_baselines.triplet:Triplet",
    summary="triplets of the batch on tanh codes (baseline)",
    paper="none of its own; the code of FPH's lab",
    certainty="high: code of the lab",
)
