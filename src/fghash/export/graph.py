"""The encoder as one module from bytes to what codes are made of: what is traced, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fghash.api import LoadedRun
from fghash.backbone import Backbone
from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.methods.base import HashingMethod

INPUT = "images"


@dataclass(frozen=True)
class GraphOutputs:
    """What a graph gives: ``names`` of its outputs in order, and ``codes``, an example of the codes.

    ``values`` (b, bits): a value >= 0 is a 1; ``indices`` (b, m): of codewords; ``vectors`` (b, d): real.
    ``queries`` (b, d) stands beside ``indices``: what codewords are compared with.
    """

    names: tuple[str, ...]
    codes: Codes

    def as_codes(self, outputs: dict[str, object]) -> Codes:
        """The codes that these outputs stand for."""
        if isinstance(self.codes, BinaryCodes):
            return BinaryCodes.from_signs(outputs["values"])
        if isinstance(self.codes, QuantizedCodes):
            given = self.codes
            return QuantizedCodes(outputs["indices"], given.codebooks, given.structure, given.similarity)  # type: ignore[arg-type]
        return self.as_queries(outputs)

    def as_queries(self, outputs: dict[str, object]) -> Codes:
        """The queries that these outputs stand for."""
        if isinstance(self.codes, BinaryCodes):
            return self.as_codes(outputs)
        similarity: str = self.codes.similarity  # type: ignore[attr-defined]
        name = "queries" if isinstance(self.codes, QuantizedCodes) else "vectors"
        return RealCodes(outputs[name], similarity)  # type: ignore[arg-type]


class EncoderGraph(nn.Module):
    """Bytes (b, 3, size, size), RGB, scaled and cropped, to values, indices and queries, or vectors.

    Normalisation is included; scaling and cropping are not (:mod:`fghash.data.images.transforms`).

    Args:
        method: in evaluation mode, on the CPU.
    """

    mean: Tensor
    inverse: Tensor

    def __init__(self, method: HashingMethod) -> None:
        super().__init__()
        backbone = method.backbone
        assert isinstance(backbone, Backbone)
        self.method = method
        self.register_buffer("mean", backbone.normalise.mean.detach().float().clone())
        self.register_buffer("inverse", backbone.normalise.inverse.detach().float().clone())
        self.outputs = _outputs(method)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of :attr:`outputs`."""
        x = (images.float() - self.mean) * self.inverse
        backbone = self.method.backbone
        features = backbone.of_normalised(x.to(backbone.dtype), self.method.reads)
        first = self.method.code_values(features)
        if len(self.outputs.names) == 1:
            return (first.float(),)
        return first.to(torch.int64), self.method.query_values(features).float()


def encoder_graph(run: LoadedRun) -> EncoderGraph:
    """The graph of a loaded run.

    Raises:
        InputError: a run on given vectors.
    """
    if not isinstance(run.method.backbone, Backbone):
        raise InputError(f"run: '{run.folder}' was trained on given vectors: it has no network to export")
    return EncoderGraph(run.method.cpu().eval()).eval()


def _outputs(method: HashingMethod) -> GraphOutputs:
    """Found out by encoding one image."""
    backbone = method.backbone
    assert isinstance(backbone, Backbone)
    images = torch.zeros(1, 3, backbone.tried_size, backbone.tried_size, dtype=torch.uint8)
    with torch.inference_mode():
        codes = method.encode(backbone(images, method.reads))
    kinds = {BinaryCodes: ("values",), QuantizedCodes: ("indices", "queries"), RealCodes: ("vectors",)}
    return GraphOutputs(kinds[type(codes)], codes)
