"""Graphs of the encoder in files: ONNX in three precisions, and torch.export's own format."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fghash import __version__
from fghash.api import LoadedRun
from fghash.codes import QuantizedCodes
from fghash.codes.archives import save_arrays
from fghash.data.images.transforms import MARGIN, stored_size
from fghash.errors import InputError
from fghash.export.graph import INPUT, EncoderGraph, GraphOutputs
from fghash.files import replacing
from fghash.optional import import_package

OPSET = 20
_BACKBONE = "method.backbone"

Images = NDArray[np.uint8]  # (b, 3, size, size)


def write_onnx(
    graph: EncoderGraph,
    run: LoadedRun,
    path: Path,
    precision: str = "fp32",
    calibration: Iterable[Images] = (),
) -> None:
    """Write the encoder as ONNX, for any number of images at a time.

    Args:
        graph: of the run.
        run: that is described in the file's metadata.
        path: of the file.
        precision: ``fp32``; ``fp16``: weights and arithmetic of the network in half precision; ``int8``: its
            convolutions and matrix products in whole numbers (QDQ, a scale for each channel). The head stays
            in float32: a code is what rounding changes last.
        calibration: batches from which ``int8`` takes the ranges of activations.

    Raises:
        InputError: a package is missing, torch cannot trace the method, or the file cannot be written.
    """
    import_package("onnx", "--format onnx", "export")
    import_package("onnxscript", "--format onnx", "export")
    with tempfile.TemporaryDirectory(prefix="fghash-") as folder:
        first = Path(folder) / "fp32.onnx"
        _trace_onnx(graph, first)
        made = {"fp32": _as_it_is, "fp16": _halved, "int8": _quantized}[precision](first, list(calibration))
        _describe(made, graph, run, precision)
        with replacing(path, "--out") as temporary:
            temporary.write_bytes(made.read_bytes())


def write_torch_export(graph: EncoderGraph, path: Path) -> None:
    """Write the encoder in torch.export's format (``torch.export.load``), for any number of images.

    Raises:
        InputError: torch cannot trace the method, or the file cannot be written.
    """
    with _quiet():
        try:
            program = torch.export.export(graph, (_example(graph),), dynamic_shapes=_DYNAMIC)
        except Exception as error:  # torch raises what it likes
            raise _untraceable(graph, error) from error
        with replacing(path, "--out") as temporary:
            torch.export.save(program, temporary)


def write_preprocessing(folder: Path, graph: EncoderGraph, run: LoadedRun) -> None:
    """What is done to an image before the graph and to what it gives after it, and the codebooks."""
    codes = graph.outputs.codes
    about = {
        **_facts(run),
        "input": {
            "name": INPUT, "type": "uint8", "shape": ["batch", 3, run.transform.size, run.transform.size],
            "colours": "RGB",
        },
        "preprocessing": [
            "decode to 8-bit RGB, upright by EXIF, transparency on white",
            f"scale the short side to {stored_size(run.transform.size)} pixels (bilinear, antialiased), "
            f"{MARGIN} times the crop",
            f"crop the central {run.transform.size} x {run.transform.size} pixels",
            "normalisation is part of the graph",
        ],
        "outputs": {name: _MEANING[name] for name in graph.outputs.names},
        "bits": codes.bits_per_item,
        "packing": "bit i of a code is bit i % 8 of byte i // 8 (numpy.packbits(..., bitorder='little'))",
    }  # fmt: skip
    if isinstance(codes, QuantizedCodes):
        about |= {"structure": codes.structure, "similarity": codes.similarity, "codebooks": "codebooks.npz"}
        save_arrays(folder / "codebooks.npz", {"codebooks": codes.codebooks})
    with replacing(folder / "preprocessing.json", "--out") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


class OnnxEncoder:
    """An ONNX graph that onnxruntime runs.

    Args:
        path: of the file.
        outputs: of the graph that it was made of.
        threads: of one run; by default all cores.

    Raises:
        InputError: onnxruntime is missing, or cannot read the file.
    """

    def __init__(self, path: Path, outputs: GraphOutputs, threads: int | None = None) -> None:
        runtime = import_package("onnxruntime", "--format onnx", "export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"onnx: cannot read '{path}' ({str(error).splitlines()[0][:200]})") from None
        self._outputs = outputs

    def __call__(self, images: Images) -> dict[str, NDArray[Any]]:
        """The outputs by name."""
        found = self._session.run(None, {INPUT: images})
        return dict(zip(self._outputs.names, found, strict=True))


# -- tracing -------------------------------------------------------------------------------------------------

_DYNAMIC = ({0: torch.export.Dim("batch")},)
_MEANING = {
    "values": "float32 (batch, bits): bit i is 1 where value i >= 0",
    "indices": "int64 (batch, codebooks): the codewords of each item, as a gallery stores them",
    "queries": "float32 (batch, width): what a query is compared with",
    "vectors": "float32 (batch, width): real vectors",
}


def _example(graph: EncoderGraph) -> torch.Tensor:
    size = graph.method.backbone.tried_size  # type: ignore[union-attr]
    return torch.zeros(2, 3, size, size, dtype=torch.uint8)  # type: ignore[arg-type]


def _trace_onnx(graph: EncoderGraph, path: Path) -> None:
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                graph, (_example(graph),), dynamo=True, dynamic_shapes=_DYNAMIC, opset_version=OPSET,
                input_names=[INPUT], output_names=list(graph.outputs.names), verbose=False,
            )  # fmt: skip
            program.save(str(path), external_data=False)
        except Exception as error:  # torch raises what it likes
            raise _untraceable(graph, error) from error


def _untraceable(graph: EncoderGraph, error: Exception) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:200] if lines else type(error).__name__
    return InputError(f"export: torch cannot trace {type(graph.method).__name__} ({reason})")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says to programmers."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def _describe(path: Path, graph: EncoderGraph, run: LoadedRun, precision: str) -> None:
    import onnx

    model = onnx.load(path)
    model.producer_name, model.producer_version = "fghash", __version__
    about = {**_facts(run), "precision": precision, "outputs": ",".join(graph.outputs.names)}
    onnx.helper.set_model_props(model, {f"fghash.{key}": str(value) for key, value in about.items()})
    onnx.save(model, path)


def _facts(run: LoadedRun) -> dict[str, Any]:
    return {
        "fghash": __version__,
        "encoder": run.encoder,
        "method": run.config.method.name,
        "backbone": run.config.backbone.name,
        "trained_on": run.config.data.name,
        "opset": OPSET,
    }


# -- precisions ----------------------------------------------------------------------------------------------


def _as_it_is(path: Path, calibration: Sequence[Images]) -> Path:
    return path


def _halved(path: Path, calibration: Sequence[Images]) -> Path:
    import onnx

    float16 = import_package("onnxruntime.transformers.float16", "--precision fp16", "export")
    model = onnx.load(path)
    made = path.with_name("fp16.onnx")
    with _quiet():
        half = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=_outside(model))
    onnx.save(half, made)
    return made


def _quantized(path: Path, calibration: Sequence[Images]) -> Path:
    import onnx

    tools = import_package("onnxruntime.quantization", "--precision int8", "export")
    shapes = import_package("onnxruntime.quantization.shape_inference", "--precision int8", "export")
    if not calibration:
        raise InputError("--precision int8: no images to calibrate with, expected --images")

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """The batches, one after the other."""

        def __init__(self) -> None:
            self.left = iter(calibration)

        def get_next(self) -> dict[str, Images] | None:
            """The next batch, ``None`` behind the last."""
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch}

    prepared, made = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
    with _quiet():
        shapes.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        tools.quantize_static(
            str(prepared), str(made), Reader(), quant_format=tools.QuantFormat.QDQ, per_channel=True,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"], nodes_to_exclude=_outside(onnx.load(path)),
        )  # fmt: skip
    return made


def _outside(model: Any) -> list[str]:
    """Names of the nodes that are not the network's: normalisation and head."""
    names = []
    for node in model.graph.node:
        scopes: Mapping[str, str] = {each.key: each.value for each in node.metadata_props}
        if _BACKBONE not in scopes.get("pkg.torch.onnx.name_scopes", ""):
            names.append(node.name)
    return names
