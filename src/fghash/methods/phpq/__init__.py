"""PHPQ: Pyramid Hybrid Pooling Quantization (arXiv 2109.05206; Pattern Recognition Letters 178, 2024).

A reconstruction. The abstract is certain: an embedding pooled from several levels of feature maps, a
learnable quantizer, and *partial codebook attention*, which trains only the most relevant codewords. The
equations, losses and values are ours, after the same authors' quantizers (MeCoQ, HCQ): the paper's text and
code were not available.
"""

from __future__ import annotations

from fghash.methods.phpq.phpq_method import PHPQ

__all__ = ["PHPQ"]
