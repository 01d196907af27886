"""``fghash export``: the encoder of a run as ONNX, torch.export or a bundle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.cli.options import Options, at_least
from fghash.errors import InputError
from fghash.files import is_taken
from fghash.settings.sources import notice

if TYPE_CHECKING:
    from fghash.api import LoadedRun, PreparedImages
    from fghash.export.graph import EncoderGraph

DESCRIPTION = """\
Write the encoder of a run for other programs. onnx: model.onnx for any batch, with normalisation, compared
with the run on its own queries (or --images); preprocessing.json says what comes before and after.
torch_export: model.pt2 for torch.export.load. bundle: weights, settings, transform, codebooks and a model
card, without data, for fghash encode, load_run and fghash publish.

  fghash export runs/synthetic/phpq/32/ID --format onnx --out encoder
  fghash export runs/synthetic/phpq/32/ID --format onnx --precision int8 --images photos --out encoder8
  fghash export runs/synthetic/phpq/32/ID --format bundle --out bundle"""

FORMATS = ("onnx", "torch_export", "bundle")
_COMPARED, _CALIBRATED, _BATCH = 200, 128, 32  # images


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash export ARGV``; the exit status."""
    given = _options().read(argv)
    if given.format != "onnx" and given.precision != "fp32":
        raise InputError(f"--precision: {given.precision}, expected it with --format onnx only")
    if is_taken(given.out):
        raise InputError(f"--out: '{given.out}' is there already, expected a new folder")
    from fghash.api import find_run, load_run

    loaded = load_run(find_run(given.run))
    if given.format == "bundle":
        from fghash.export.bundle import write_bundle

        write_bundle(loaded, given.out)
        print(f"{given.out}: {_size(given.out)}")
        return 0
    return _graph(given, loaded)


def _graph(given: argparse.Namespace, loaded: LoadedRun) -> int:
    from fghash.export.graph import encoder_graph
    from fghash.export.graph_files import write_onnx, write_preprocessing, write_torch_export

    graph = encoder_graph(loaded)
    batches = None
    if given.format == "onnx":
        batches = _images(given, loaded)
        if batches is None and given.precision == "int8":
            raise InputError("--precision int8: the run's images are not on this machine, expected --images")
    made = not given.out.exists()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        if given.format == "torch_export":
            write_torch_export(graph, given.out / "model.pt2")
        else:
            calibration = batches("gallery", _CALIBRATED) if batches else []
            write_onnx(graph, loaded, given.out / "model.onnx", given.precision, calibration)
        write_preprocessing(given.out, graph, loaded)
    except InputError:
        if made and not any(given.out.iterdir()):
            given.out.rmdir()
        raise
    print(f"{given.out}: {_size(given.out)}, outputs {', '.join(graph.outputs.names)}")
    return _compared(given, loaded, graph, batches) if given.format == "onnx" else 0


def _compared(
    given: argparse.Namespace, loaded: LoadedRun, graph: EncoderGraph, batches: PreparedImages | None
) -> int:
    """Codes of both; and what it costs in mAP where precision was lost."""
    from fghash.export.graph_files import OnnxEncoder
    from fghash.export.parity import compare_codes, map_loss

    if batches is None:
        notice("the run's images are not on this machine: codes are not compared (--images FOLDER does)")
        return 0
    other = OnnxEncoder(given.out / "model.onnx", graph.outputs)
    parity = compare_codes(graph, other, batches("queries", given.compare))
    print(parity.in_words())
    report: dict[str, Any] = {"precision": given.precision, "parity": parity.to_dict()}
    if (given.score or given.precision != "fp32") and given.images is None:
        loss = map_loss(loaded, graph, other, batches)
        print(loss.in_words())
        report["map"] = {"graph": loss.graph, "stored": loss.stored}
    (given.out / "parity.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given.precision == "fp32" and not parity.equal:
        notice("codes differ beyond rounding: do not use this graph in place of the run")
        return 2
    return 0


def _images(given: argparse.Namespace, loaded: LoadedRun) -> PreparedImages | None:
    """Prepared images of ``--images``, else of the run; ``None`` where there are none."""
    import numpy as np

    from fghash.api import prepared_images, spread

    if given.images is None:
        return prepared_images(loaded, _BATCH)
    from fghash.search.image_lists import list_images

    sources = list_images(given.images)

    def of_files(part: str, count: int | None = None) -> Iterator[Any]:
        places = spread(len(sources), count)
        for start in range(0, len(places), _BATCH):
            chosen = [sources[place] for place in places[start : start + _BATCH]]
            yield np.stack([loaded.prepared(each.open()) for each in chosen])

    return of_files


def _size(folder: Path) -> str:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in files)


def _options() -> Options:
    options = Options("export", DESCRIPTION)
    options.add_argument("run", metavar="RUN", help="folder of a run or bundle, or above one; hf://user/name")
    options.add_argument("--format", choices=FORMATS, default="onnx", help="of the file (onnx)")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    options.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="of an ONNX network (fp32)"
    )
    options.add_argument("--images", nargs="+", metavar="IMAGES", help="to compare and calibrate with")
    options.add_argument("--compare", type=at_least(1), default=_COMPARED, help="images to compare (200)")
    options.add_argument("--score", action="store_true", help="mAP of the graph, on the run's own data")
    return options
