"""DPQ: Deep Progressive Quantization (Gao, Zhu, Song, Zhao and Shen, IJCAI 2019, arXiv 1906.06698).

An embedding ``x = tanh(W f)`` is tied to fixed vectors of the class names by a hinge with adaptive margins,
next to a classifier, and approximated level by level: each of m full-width codebooks quantizes what the
levels before left over. A code of fewer levels is therefore nested in the longer one, and one training gives
every length. The official code (cfm-uestc/DPQ) was read in full; where it and the paper differ, there is a
switch. Not the method of the same name by Klein and Wolf (Deep *Product* Quantization). Unlike the official
AlexNet, both heads read the pooled map of the backbone's last level.
"""

from __future__ import annotations

from fghash.methods.dpq.dpq_method import DPQ

__all__ = ["DPQ"]
