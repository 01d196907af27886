"""Baselines, registered through the public entry point that any other package would use.

What ``setup.cfg`` lists under ``fghash.methods``: names of entries, nothing heavy is imported. ``shallow``
holds what is fitted to frozen features at once, ``deep`` what is trained.
"""

from __future__ import annotations

from typing import Any

from fghash.registry import MethodInfo


def _shallow(name: str, target: str, **facts: Any) -> MethodInfo:
    return _entry(name, f"shallow.{target}", closed_form=True, **facts)


def _deep(name: str, target: str, **facts: Any) -> MethodInfo:
    return _entry(name, f"deep.{target}", **facts)


def _entry(name: str, target: str, **facts: Any) -> MethodInfo:
    presets = f"fghash_baselines:presets/{name}"
    return MethodInfo(target=f"fghash_baselines.{target}", presets=presets, **facts)


# Fitted in closed form.

FROZEN = _shallow(
    "frozen",
    "frozen:Frozen",
    summary="the network's vectors by cosine, no training, no coding (upper bound without training)",
    paper="none of its own",
    certainty="high: nothing to reconstruct",
    notes="real vectors, 32 bits a dimension",
)

LSH = _shallow(
    "lsh",
    "lsh:LSH",
    summary="signs of random projections (no labels)",
    paper="Similarity Estimation Techniques from Rounding Algorithms",
    year=2002,
    certainty="very high: nothing to reconstruct",
)

SH = _shallow(
    "sh",
    "spectral:SpectralHashing",
    summary="signs of the slowest sinusoids along principal directions (no labels)",
    paper="Spectral Hashing",
    year=2008,
    certainty="high: formulas of the paper, from memory",
)

ITQ = _shallow(
    "itq",
    "itq:ITQ",
    summary="principal directions rotated towards their signs (no labels)",
    paper="Iterative Quantization: A Procrustean Approach to Learning Binary Codes",
    year=2011,
    certainty="very high: formulas of the paper, from memory",
)

ITQ_CCA = _shallow(
    "itq_cca",
    "itq:ITQCCA",
    summary="canonical directions of features and classes rotated towards their signs",
    paper="Iterative Quantization: A Procrustean Approach to Learning Binary Codes",
    year=2011,
    certainty="high: formulas of the paper, from memory; the regularisation is relative",
)

KSH = _shallow(
    "ksh",
    "ksh:KSH",
    summary="kernel hash functions, bit after bit, from similar and dissimilar pairs",
    paper="Supervised Hashing with Kernels",
    year=2012,
    certainty="high: formulas of the paper, from memory; plain descent instead of Nesterov's",
)

SDH = _shallow(
    "sdh",
    "sdh:SDH",
    summary="codes that a linear classifier reads, found bit by bit, and a kernel regression onto them",
    paper="Supervised Discrete Hashing",
    year=2015,
    certainty="high: formulas of the paper, from memory",
)

PQ = _shallow(
    "pq",
    "pq:PQ",
    summary="k-means on each part of the vector (no labels)",
    paper="Product Quantization for Nearest Neighbor Search",
    year=2011,
    certainty="very high: agrees with faiss",
)

OPQ = _shallow(
    "opq",
    "pq:OPQ",
    summary="product quantization after a rotation learned with it (no labels)",
    paper="Optimized Product Quantization for Approximate Nearest Neighbor Search",
    year=2013,
    certainty="very high: agrees with faiss",
)

RQ = _shallow(
    "rq",
    "additive:RQ",
    summary="k-means on what earlier codebooks leave over, beam search (no labels)",
    paper="Approximate Nearest Neighbor Search by Residual Vector Quantization",
    year=2010,
    certainty="very high: agrees with faiss",
)

LSQ = _shallow(
    "lsq",
    "additive:LSQ",
    summary="additive codebooks by least squares, codes by local search (no labels)",
    paper="Revisiting Additive Quantization",
    year=2016,
    certainty="high: formulas of the paper, from memory; agrees with faiss",
)

# Trained.

ADSH = _deep(
    "adsh",
    "adsh:ADSH",
    summary="asymmetric pairs, codes of the training items optimised in turns (baseline)",
    paper="Asymmetric Deep Supervised Hashing",
    year=2018,
    certainty="very high: paper and official code",
)

CLASSIFY = _deep(
    "classify",
    "classify:Classify",
    summary="cross-entropy of a linear classifier on tanh bits (baseline)",
    paper="none of its own; the classification loss of many hashing papers, alone",
    certainty="high: nothing to reconstruct",
)

TRIPLET = _deep(
    "triplet",
    "triplet:Triplet",
    summary="triplets of the batch on tanh codes (baseline)",
    paper="none of its own; the code of FPH's lab",
    certainty="high: code of the lab",
)

REAL = _deep(
    "real",
    "real:Real",
    summary="as many real values as the others have bits, classified, by cosine (upper bound)",
    paper="none of its own",
    certainty="high: nothing to reconstruct",
    notes="real vectors, 32 bits a dimension",
)

DSH = _deep(
    "dsh",
    "dsh:DSH",
    summary="similar pairs pulled together, others pushed apart up to a margin",
    paper="Deep Supervised Hashing for Fast Image Retrieval",
    year=2016,
    certainty="high: formulas of the paper and of a re-implementation",
)

DPSH = _deep(
    "dpsh",
    "dpsh:DPSH",
    summary="likelihood of pairs by inner products",
    paper="Feature Learning Based Deep Supervised Hashing with Pairwise Labels",
    year=2016,
    certainty="high: formulas of the paper; pairs of the batch instead of all training items",
)

DTSH = _deep(
    "dtsh",
    "dtsh:DTSH",
    summary="likelihood of triplets by inner products",
    paper="Deep Supervised Hashing with Triplet Labels",
    year=2016,
    certainty="high: formulas of the paper and of a re-implementation",
)

DCH = _deep(
    "dch",
    "dch:DCH",
    summary="similar pairs within a small Hamming radius, by a Cauchy distribution",
    paper="Deep Cauchy Hashing for Hamming Space Retrieval",
    year=2018,
    certainty="very high: paper and a re-implementation of the official code",
)

DPN = _deep(
    "dpn",
    "dpn:DPN",
    summary="each bit on the side of its class's random code, by a margin",
    paper="Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes",
    year=2020,
    certainty="high: formulas of the paper; targets stay as drawn",
)

GREEDYHASH = _deep(
    "greedyhash",
    "greedyhash:GreedyHash",
    summary="classification of the signs, whose gradient passes as it is",
    paper="Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN",
    year=2018,
    certainty="very high: paper and official code",
)

CSQ = _deep(
    "csq",
    "csq:CSQ",
    summary="bits of the class's hash centre by cross-entropy",
    paper="Central Similarity Quantization for Efficient Image and Video Retrieval",
    year=2020,
    certainty="very high: paper and official code; random centres are spread greedily",
)

ORTHOHASH = _deep(
    "orthohash",
    "orthohash:OrthoHash",
    summary="cosine to the class's hash centre by a margin, balanced bits",
    paper="One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective",
    year=2021,
    certainty="very high: paper and official code",
)

HYP2 = _deep(
    "hyp2",
    "hyp2:HyP2",
    summary="a learned proxy for each class, pairs where items have several labels",
    paper="HyP2 Loss: Beyond Hypersphere Metric Space for Multi-label Image Retrieval",
    year=2022,
    certainty="high: official loss; its threshold by the Griesmer bound instead of a table",
)

SPQ = _deep(
    "spq",
    "spq:SPQ",
    summary="supervised product quantization, soft and hard codewords classified",
    paper="End-to-End Supervised Product Quantization for Image Search and Retrieval",
    year=2019,
    certainty="medium: losses of the paper from memory, their weights are ours",
    notes="its authors call it DPQ; weights of the terms are ours",
)

DVSQ = _deep(
    "dvsq",
    "dvsq:DVSQ",
    summary="adaptive margins to class vectors, additive codewords in turns",
    paper="Deep Visual-Semantic Quantization for Efficient Image Retrieval",
    year=2017,
    certainty="medium: paper in excerpts; codes by plain distance, random class vectors",
    notes="random class vectors, codes by plain distance",
)

DTQ = _deep(
    "dtq",
    "dtq:DTQ",
    summary="triplets, additive codewords in turns",
    paper="Deep Triplet Quantization",
    year=2018,
    certainty="medium: from memory; without its group-wise hard triplets and weak orthogonality",
    notes="reconstruction: DTQ-style, all triplets of the batch, no weak orthogonality",
)

FISH = _deep(
    "fish",
    "fish:FISH",
    summary="strong places and class scores count more, codes of the labels as targets",
    paper="Fine-Grained Hashing With Double Filtering",
    year=2022,
    certainty="high: official code read; places are erased in the map, not in the image",
    notes="places are erased in the map, not in the image; its gallery codes know the labels",
)

A2NET = _deep(
    "a2net",
    "a2net:A2Net",
    summary="attended parts, bits that rebuild the features, codes optimised in turns",
    paper="A2-Net: Learning Attribute-Aware Hash Codes for Large-Scale Fine-Grained Image Retrieval",
    year=2021,
    certainty="medium: near-official code read; the number of parts is ours",
    notes="4 attention maps instead of one a bit",
)

SEMICON = _deep(
    "semicon",
    "semicon:SEMICON",
    summary="regions one after the other, attention among channels, codes optimised in turns",
    paper="SEMICON: A Learning-to-hash Solution for Large-scale Fine-grained Image Retrieval",
    year=2022,
    certainty="medium: near-official code read; the channel attention stands behind the last stage",
    notes="channel attention behind the last stage, masks normalised within an image",
)
