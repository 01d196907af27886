"""How fast the evaluator is, beside what else is used for the same scores.

    python experiments/speed/evaluation.py [binary] [sizes] [quantized] [gpu] [--threads 2] [--repeats 7]

Contenders run in turn, several times; each line is a median and the ratio to ours. Run it on an idle machine.
``--scale 0.1`` makes every size ten times smaller, to try the script.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, as_labels
from fghash.evaluation import evaluate
from fghash.evaluation.kernels.hamming import hamming_blocks
from fghash.evaluation.relevance import Relevance
from fghash.evaluation.work import Work, default_threads

PAUSE = 0.2  # seconds
SLICE = 100  # queries that a slow loop runs; its time is scaled up to all


def alternated(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, all run in turn, after a first run that is not counted.

    Before each comes a pause: the threads of BLAS and OpenMP keep a core busy for a while after their work.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, run in contenders.items():
            time.sleep(PAUSE)
            begun = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - begun)
    return {name: median(values) for name, values in times.items()}


def show(title: str, seconds: dict[str, float], ours: str) -> None:
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<58} {value * 1e3:12.1f} ms  {value / seconds[ours]:9.2f} x ours")


def random_labels(n: int, classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(classes, size=n)


def random_codes(n: int, bits: int, labels: np.ndarray, seed: int, noise: float = 0.35) -> BinaryCodes:
    """Codes around one centre a class, as a hashing network gives them."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).random((int(labels.max()) + 1, bits)) < 0.5
    codes = np.empty((n, bits), np.bool_)
    for start in range(0, n, 100_000):
        part = labels[start : start + 100_000]
        codes[start : start + 100_000] = centres[part] ^ (
            random.random((len(part), bits), np.float32) < noise
        )
    return BinaryCodes(codes)


def binary_case(q: int, g: int, bits: int, classes: int):
    query_labels, gallery_labels = random_labels(q, classes, 1), random_labels(g, classes, 2)
    queries, gallery = random_codes(q, bits, query_labels, 3), random_codes(g, bits, gallery_labels, 4)
    return queries, gallery, query_labels, gallery_labels


def argsort_loop(queries, gallery, query_labels, gallery_labels, one_hot: bool) -> float:
    """The field's loop: float32 signs, one default argsort a query."""
    if one_hot:
        eye = np.eye(int(gallery_labels.max()) + 1, dtype=np.float32)
        query_labels, gallery_labels = eye[query_labels], eye[gallery_labels]
    total = 0.0
    for query, label in zip(queries, query_labels, strict=True):
        relevant = (gallery_labels @ label > 0) if one_hot else (gallery_labels == label)
        distance = 0.5 * (queries.shape[1] - gallery @ query)
        ranked = relevant[np.argsort(distance)]
        n = int(ranked.sum())
        if n:
            total += float(np.mean(np.arange(1, n + 1) / (np.flatnonzero(ranked) + 1)))
    return total / len(queries)


def popcount_bound(queries: np.ndarray, gallery: np.ndarray, threads: int) -> Callable[[], object]:
    """Xor, count and sum every pair: the least a kernel takes that counts the ones of every pair."""
    import numba

    from fghash.evaluation.kernels.hamming_numba import popcount

    @numba.njit(nogil=True)
    def bound(queries, gallery, sums):
        for i in range(len(queries)):
            total = np.uint64(0)
            query = queries[i]
            for j in range(len(gallery)):
                total += popcount(gallery[j] ^ query)
            sums[i] = total

    sums = np.zeros(len(queries), np.uint64)
    parts = np.array_split(np.arange(len(queries)), 4 * threads)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: bound(queries[part], gallery, sums[part]), parts))

    return run


def binary(threads: int, repeats: int, scale: float) -> None:
    """Must show 1: 5,000 x 50,000 x 64 bits, 200 classes, mAP@all."""
    q, g = int(5000 * scale), int(50_000 * scale)
    case = binary_case(q, g, 64, 200)
    signs = [np.where(codes.bits, np.float32(1), np.float32(-1)) for codes in case[:2]]
    part = slice(0, min(SLICE, q))
    loop = (signs[0][part], signs[1], case[2][part], case[3])
    contenders = {
        "evaluate(): all scores": lambda: evaluate(*case, threads=threads),
        "of it counting, without scores": counting(case, threads),
        "popcount bound, same threads": popcount_bound(
            case[0].words().reshape(-1), case[1].words().reshape(-1), threads
        ),
        **faiss_search(case[0], case[1], threads),
        "numpy argsort loop, labels by equality": lambda: argsort_loop(*loop, one_hot=False),
        "numpy argsort loop, one-hot labels": lambda: argsort_loop(*loop, one_hot=True),
    }
    seconds = alternated(contenders, repeats)
    for name in seconds:
        if "loop" in name:
            seconds[name] *= q / len(loop[0])
    ours = "evaluate(): all scores"
    show(
        f"binary, {q:,} x {g:,} x 64 bits, {threads} threads (loops: {len(loop[0])} queries, scaled)",
        seconds,
        ours,
    )
    bound, alone = seconds["popcount bound, same threads"], seconds["of it counting, without scores"]
    print(
        f"  fraction of the popcount bound: {bound / seconds[ours]:.2f}, counting alone {bound / alone:.2f}"
    )


def counting(case, threads: int) -> Callable[[], object]:
    """The histograms of all pairs, and the tie groups made of them."""
    queries, gallery, *labels = case
    relevance, work = Relevance.of(*map(as_labels, labels)), Work.of(threads=threads)

    def run() -> None:
        blocks = hamming_blocks(queries, gallery, relevance, work)
        work.map(blocks.groups, work.blocks(len(queries), blocks.bytes_a_query))

    return run


def faiss_search(queries: BinaryCodes, gallery: BinaryCodes, threads: int) -> dict[str, Callable[[], object]]:
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: left out")
        return {}
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexBinaryFlat(gallery.bits_per_item)
    index.add(gallery.packed())
    packed = queries.packed()
    return {"faiss IndexBinaryFlat, 100 neighbours": lambda: index.search(packed, min(100, len(gallery)))}


def sizes(threads: int, repeats: int, scale: float) -> None:
    """Must show 2: large cases in a process of their own, with the peak of memory over the codes."""
    for q, g, bits in ((24_633, 23_929, 48), (10_000, 1_000_000, 64)):
        print(f"\n{bits} bits, {threads} threads, each in a fresh process")
        for part_q, part_g in ((q, g), (q // 2, g), (q, g // 2)):
            command = [
                sys.executable,
                str(Path(__file__)),
                "--one",
                str(int(part_q * scale)),
                str(int(part_g * scale)),
            ]
            done = subprocess.run(
                [*command, str(bits), "--threads", str(threads), "--repeats", str(min(repeats, 3))],
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            pairs = found["queries"] * found["gallery"]
            print(
                f"  {found['queries']:>7,} x {found['gallery']:>9,}  {found['seconds']:8.2f} s "
                f" {found['seconds'] / pairs * 1e9:6.3f} ns a pair   codes {found['codes_mb']:6.0f} MB,"
                f" peak over them {found['peak_mb']:6.0f} MB"
            )


def one(q: int, g: int, bits: int, threads: int, repeats: int) -> None:
    """One large case: seconds, size of the codes, and peak of memory over them (Linux)."""
    case = binary_case(q, g, bits, 555)
    evaluate(*binary_case(4, 100, bits, 5), threads=threads)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    seconds = alternated({"evaluate": lambda: evaluate(*case, threads=threads)}, repeats)["evaluate"]
    codes = sum(codes.bits.nbytes for codes in case[:2])
    found = {"queries": q, "gallery": g, "seconds": seconds, "codes_mb": codes / 1e6}
    print(json.dumps({**found, "peak_mb": (_memory("VmHWM") - before) / 1e3}))


def _memory(name: str) -> int:
    """Kilobytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def quantized(threads: int, repeats: int, scale: float) -> None:
    """Must show 3: product codes of 8 codebooks x 256 words x 64 dimensions, 5,000 x 50,000."""
    random = np.random.default_rng(0)
    q, g = int(5000 * scale), int(50_000 * scale)
    labels = random_labels(q, 200, 1), random_labels(g, 200, 2)
    words = random.standard_normal((8, 256, 64)).astype(np.float32)
    likely = np.random.default_rng(5).integers(256, size=(200, 8))
    chosen = [
        np.where(random.random((len(part), 8)) < 0.5, likely[part], random.integers(256, size=(len(part), 8)))
        for part in labels
    ]
    gallery = QuantizedCodes(chosen[1], words)
    queries = RealCodes(QuantizedCodes(chosen[0], words).decode())
    decoded, part = gallery.decode(), min(SLICE, q)

    def loop() -> float:
        total = 0.0
        for query, label in zip(queries.vectors[:part], labels[0], strict=False):
            ranked = (labels[1] == label)[np.argsort(-(decoded @ query))]
            total += float(np.mean(np.arange(1, ranked.sum() + 1) / (np.flatnonzero(ranked) + 1)))
        return total / part

    ours = "evaluate(): all scores"
    contenders = {
        ours: lambda: evaluate(queries, gallery, *labels, threads=threads),
        "decoded once; product with the vectors and argsort a query": loop,
    }
    seconds = alternated(contenders, repeats)
    seconds["decoded once; product with the vectors and argsort a query"] *= q / part
    show(f"quantized, {q:,} x {g:,}, product of 8 x 256 x 64, {threads} threads", seconds, ours)


def gpu(threads: int, repeats: int, scale: float) -> None:
    """Must show 4: 10,000 x 1,000,000 x 64 bits on a GPU, beside reading the codes at full bandwidth."""
    import torch

    if not torch.cuda.is_available():
        print("\nno GPU here: left out")
        return
    case = binary_case(int(10_000 * scale), int(1_000_000 * scale), 64, 555)
    memory = torch.zeros(1 << 28, dtype=torch.float32, device="cuda")

    def copy() -> None:
        memory.add_(1)
        torch.cuda.synchronize()

    found = alternated(
        {"evaluate": lambda: evaluate(*case, device="cuda", memory=8 * 10**9), "read and write 1 GiB": copy},
        repeats,
    )
    bandwidth = 2 * memory.nbytes / found["read and write 1 GiB"]
    pairs = len(case[0]) * len(case[1])
    print(f"\nGPU {torch.cuda.get_device_name()}, {len(case[0]):,} x {len(case[1]):,} x 64 bits")
    seconds, at_full_rate = found["evaluate"], pairs / bandwidth
    print(f"  evaluate(device='cuda') {seconds:.3f} s, {seconds / pairs * 1e9:.4f} ns a pair")
    print(
        f"  bandwidth {bandwidth / 1e9:.0f} GB/s, measured; a byte a pair at that rate: {at_full_rate:.3f} s"
    )
    print(f"  fraction of it: {at_full_rate / seconds:.3f}")


PARTS = {"binary": binary, "sizes": sizes, "quantized": quantized, "gpu": gpu}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--one", type=int, nargs=3, metavar=("Q", "G", "BITS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(*given.one, given.threads, given.repeats)
        return
    rounds = f"{given.threads} threads, {given.repeats} runs each, medians"
    print(f"{os.cpu_count()} cores, numpy {np.__version__}, {rounds}")
    for name in given.parts:
        PARTS[name](given.threads, given.repeats, given.scale)


if __name__ == "__main__":
    main()
