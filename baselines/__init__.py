"""Baselines, registered through the public entry point that any other package would use.

What ``setup.cfg`` lists under ``fghash.methods``: names of entries, nothing heavy is imported. ``shallow`` holds
what is fitted to frozen features at once, ``deep`` what is trained.
"""

from __future__ import annotations

from functools import partial

from fghash.registry import MethodInfo

_PRESETS = "fghash_baselines:presets"
_Shallow = partial(MethodInfo, presets=_PRESETS, closed_form=True)
_Deep = partial(MethodInfo, presets=_PRESETS)

# Fitted in closed form.

FROZEN = _Shallow(
    target="fghash_baselines.shallow.frozen:Frozen",
    summary="the network's vectors by cosine, no training, no coding (upper bound without training)",
    paper="none of its own",
    certainty="high: nothing to reconstruct",
    notes="real vectors, 32 bits a dimension",
)

LSH = _Shallow(
    target="fghash_baselines.shallow.lsh:LSH",
    summary="signs of random projections (no labels)",
    paper="Similarity Estimation Techniques from Rounding Algorithms",
    year=2002,
    certainty="very high: nothing to reconstruct",
)

SH = _Shallow(
    target="fghash_baselines.shallow.spectral:SpectralHashing",
    summary="signs of the slowest sinusoids along principal directions (no labels)",
    paper="Spectral Hashing",
    year=2008,
    certainty="high: formulas of the paper, from memory",
)

ITQ = _Shallow(
    target="fghash_baselines.shallow.itq:ITQ",
    summary="principal directions rotated towards their signs (no labels)",
    paper="Iterative Quantization: A Procrustean Approach to Learning Binary Codes",
    year=2011,
    certainty="very high: formulas of the paper, from memory",
)

ITQ_CCA = _Shallow(
    target="fghash_baselines.shallow.itq:ITQCCA",
    summary="canonical directions of features and classes rotated towards their signs",
    paper="Iterative Quantization: A Procrustean Approach to Learning Binary Codes",
    year=2011,
    certainty="high: formulas of the paper, from memory; the regularisation is relative",
)

KSH = _Shallow(
    target="fghash_baselines.shallow.ksh:KSH",
    summary="kernel hash functions, bit after bit, from similar and dissimilar pairs",
    paper="Supervised Hashing with Kernels",
    year=2012,
    certainty="high: formulas of the paper, from memory; plain descent instead of Nesterov's",
)

SDH = _Shallow(
    target="fghash_baselines.shallow.sdh:SDH",
    summary="codes that a linear classifier reads, found bit by bit, and a kernel regression onto them",
    paper="Supervised Discrete Hashing",
    year=2015,
    certainty="high: formulas of the paper, from memory",
)

PQ = _Shallow(
    target="fghash_baselines.shallow.pq:PQ",
    summary="k-means on each part of the vector (no labels)",
    paper="Product Quantization for Nearest Neighbor Search",
    year=2011,
    certainty="very high: agrees with faiss",
)

OPQ = _Shallow(
    target="fghash_baselines.shallow.pq:OPQ",
    summary="product quantization after a rotation learned with it (no labels)",
    paper="Optimized Product Quantization for Approximate Nearest Neighbor Search",
    year=2013,
    certainty="very high: agrees with faiss",
)

RQ = _Shallow(
    target="fghash_baselines.shallow.additive:RQ",
    summary="k-means on what earlier codebooks leave over, beam search (no labels)",
    paper="Approximate Nearest Neighbor Search by Residual Vector Quantization",
    year=2010,
    certainty="very high: agrees with faiss",
)

LSQ = _Shallow(
    target="fghash_baselines.shallow.additive:LSQ",
    summary="additive codebooks by least squares, codes by local search (no labels)",
    paper="Revisiting Additive Quantization",
    year=2016,
    certainty="high: formulas of the paper, from memory; agrees with faiss",
)

# Trained.

ADSH = _Deep(
    target="fghash_baselines.deep.adsh:ADSH",
    summary="asymmetric pairs, codes of the training items optimised in turns (baseline)",
    paper="Asymmetric Deep Supervised Hashing",
    year=2018,
    certainty="very high: paper and official code",
)

CLASSIFY = _Deep(
    target="fghash_baselines.deep.classify:Classify",
    summary="cross-entropy of a linear classifier on tanh bits (baseline)",
    paper="none of its own; the classification loss of many hashing papers, alone",
    certainty="high: nothing to reconstruct",
)

TRIPLET = _Deep(
    target="fghash_baselines.deep.triplet:Triplet",
    summary="triplets of the batch on tanh codes (baseline)",
    paper="none of its own; the code of FPH's lab",
    certainty="high: code of the lab",
)
