"""Images a second: the network alone, `fghash encode` around it, and onnxruntime with its graph, in one run.

python experiments/speed/encoding.py runs/cub200/hashnet/32/ID CUB_200_2011/images
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fghash.api import find_run, load_run
from fghash.search.block_encoding import EncodingOptions
from fghash.search.bulk_encoding import encode_files
from fghash.search.image_lists import list_images


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("run")
    options.add_argument("images", nargs="+")
    options.add_argument("--limit", type=int, default=512, help="images")
    options.add_argument("--device", default="cpu")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--onnx", action="store_true", help="onnxruntime, too, in three precisions")
    given = options.parse_args()
    run = load_run(find_run(given.run), given.device)
    sources = list_images(given.images)[: given.limit]
    size = run.config.batch_size
    images = np.stack([run.prepared(source.open()) for source in sources])
    batches = [torch.from_numpy(images[start : start + size]) for start in range(0, len(images), size)]

    def alone() -> None:
        for batch in batches:
            run.encode_batch(batch)

    def around() -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = EncodingOptions(batch_size=size, devices=(given.device,))
            encode_files(run, sources, Path(folder) / "codes.npz", settings)

    def rate(function) -> float:
        start = time.perf_counter()
        function()
        return len(images) / (time.perf_counter() - start)

    for function in (alone, around):
        function()  # the first pass of everything is slower
    rounds = [(rate(alone), rate(around)) for _ in range(given.rounds)]
    network, whole = (max(each) for each in zip(*rounds, strict=True))
    ratios = [second / first for first, second in rounds]
    shown = ", ".join(f"{each:.2f}" for each in ratios)
    print(f"{len(images)} images of {run.transform.size} pixels, batches of {size}, {given.device}")
    print(f"network alone {network:.1f} images/s, fghash encode from files {whole:.1f}; ratios {shown}")
    if given.onnx:
        _onnx(run, images, size, rate)


def _onnx(run, images: np.ndarray, size: int, rate) -> None:
    from fghash.export.graph import encoder_graph
    from fghash.export.graph_files import OnnxEncoder, write_onnx
    from fghash.export.parity import compare_codes

    graph = encoder_graph(run)
    blocks = [images[start : start + size] for start in range(0, len(images), size)]

    def by_torch() -> None:
        with torch.inference_mode():
            for block in blocks:
                graph(torch.from_numpy(block))

    by_torch()
    print(f"torch, the same graph: {rate(by_torch):.1f} images/s")
    for precision in ("fp32", "fp16", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            write_onnx(graph, run, path, precision, itertools.islice(blocks, 4))
            other = OnnxEncoder(path, graph.outputs)

            def by_onnx(other=other) -> None:
                for block in blocks:
                    other(block)

            by_onnx()
            speed, megabytes = rate(by_onnx), path.stat().st_size / 1e6
            print(f"onnxruntime {precision}: {speed:.1f} images/s, {megabytes:.2f} MB")
            print(f"  {compare_codes(graph, other, blocks).in_words()}")


if __name__ == "__main__":
    main()
