"""The hashing methods, by name. Nothing is imported until one is chosen."""

from __future__ import annotations

from fghash.registry import MethodInfo

BUILT_IN: dict[str, MethodInfo] = {
    "exchnet": MethodInfo(
        target="fghash.methods.exchnet:ExchNet",
        summary="attended parts exchanged across images, codes of the training items optimised in turns",
        paper="ExchNet: A Unified Hashing Network for Large-Scale Fine-Grained Image Retrieval",
        year=2020,
        certainty="high: full paper; its weights of the diversity terms from near-official code",
    ),
    "fph": MethodInfo(
        target="fghash.methods.fph:FPH",
        summary="vertical and horizontal feature pyramids, consensus fusion, triplets",
        paper="Feature Pyramid Hashing",
        year=2019,
        certainty="low: reconstructed, only abstract and results were available",
        notes="reconstruction: FPH-style, the pyramids, the fusion and the weights are ours",
    ),
    "dpq": MethodInfo(
        target="fghash.methods.dpq:DPQ",
        summary="progressive quantization, nested codes: one training gives every length",
        paper="Beyond Product Quantization: Deep Progressive Quantization for Image Retrieval",
        year=2019,
        certainty="high: official code read in full, paper in excerpts",
        notes="heads on pooled features, not AlexNet's fc7; random label vectors unless given",
        nested=True,
    ),
    "hashnet": MethodInfo(
        target="fghash.methods.hashnet:HashNet",
        summary="weighted pairwise likelihood, tanh continuation",
        paper="HashNet: Deep Learning to Hash by Continuation",
        year=2017,
        certainty="very high: paper and official code",
    ),
    "phpq": MethodInfo(
        target="fghash.methods.phpq:PHPQ",
        summary="pyramid hybrid pooling, product quantizer with partial codebook attention",
        paper="Pyramid Hybrid Pooling Quantization for Efficient Fine-Grained Image Retrieval",
        year=2021,
        certainty="low: abstract only; equations, losses and values are a reconstruction",
        notes="reconstruction from the abstract and the authors' other quantizers",
    ),
}
