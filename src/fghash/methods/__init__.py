"""The hashing methods, by name. Nothing is imported until one is chosen."""

from __future__ import annotations

from importlib.metadata import entry_points

from fghash.registry import MethodInfo

_BUILT_IN = {
    "hashnet": MethodInfo(
        target="fghash.methods.hashnet:HashNet",
        summary="weighted pairwise likelihood, tanh continuation",
        paper="HashNet: Deep Learning to Hash by Continuation",
        year=2017,
        certainty="very high: paper and official code",
    ),
}


def _plugins() -> dict[str, MethodInfo]:
    """Methods of other installed packages: entry points of group ``fghash.methods`` that name a MethodInfo."""
    return {point.name: point.load() for point in entry_points(group="fghash.methods")}


METHODS: dict[str, MethodInfo] = {**_plugins(), **_BUILT_IN}
