"""The same counts from every kernel, block size, memory limit and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from binary_cases import binary_case, same
from fghash import compiled
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation import evaluate
from fghash.evaluation.work import Work, default_threads, parse_memory

LENGTHS = [1, 2, 7, 8, 12, 31, 32, 48, 63, 64, 65, 96, 127, 128, 129, 255, 1000, 4095, 4096]


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("bits", LENGTHS)
def test_compiled_and_numpy_kernels_count_alike(bits: int, multi: bool) -> None:
    case = binary_case(bits, multi)
    expected = evaluate(*case, kernel="numpy").groups
    assert same(evaluate(*case, kernel="numba").groups, expected)
    assert expected.distance.min() == 0
    assert expected.distance.max() == bits
    assert np.bincount(expected.query, weights=expected.size).tolist() == [150] * 13


@pytest.mark.parametrize("parities", [(0,), (1,), (0, 1)], ids=["even", "odd", "mixed"])
@pytest.mark.parametrize("bits", [64, 128, 150, 256])
@pytest.mark.parametrize("items", [1, 511, 512, 513, 1500])
def test_tiles_that_are_full_or_nearly_empty(items: int, bits: int, parities: tuple[int, ...]) -> None:
    random = np.random.default_rng(items)
    codes = random.random((items, bits)) < random.random((items, 1))  # from no ones to all
    codes[:, 0] ^= codes.sum(axis=1) % 2 != random.choice(parities, size=items)
    queries = np.concatenate([random.random((6, bits)) < 0.5, codes[:1], ~codes[:1]])
    labels = random.integers(3, size=items)
    groups = evaluate(
        BinaryCodes(queries), BinaryCodes(codes), labels[:1].repeat(8), labels, kernel="numba"
    ).groups
    for i, query in enumerate(queries):
        distances = (query != codes).sum(axis=1).tolist()
        counted = groups.query == i
        assert groups.distance[counted].tolist() == sorted(set(distances))
        assert groups.size[counted].tolist() == [distances.count(d) for d in sorted(set(distances))]


@pytest.mark.parametrize("bits", range(1, 65))
def test_every_length_of_one_word(bits: int) -> None:
    case = binary_case(bits, g=700)
    assert same(evaluate(*case, kernel="numba").groups, evaluate(*case, kernel="numpy").groups)


@pytest.mark.parametrize("bits", [1, 12, 64, 65, 500])
def test_the_torch_kernel_counts_alike(bits: int) -> None:
    for multi in (False, True):
        case = binary_case(bits, multi)
        expected = evaluate(*case, kernel="numpy").groups
        assert same(evaluate(*case, kernel="torch").groups, expected)
        assert same(evaluate(*case, device="cpu", memory=20_000).groups, expected)


def real_case(kind: str, similarity: str):
    random = np.random.default_rng(len(kind) + len(similarity))
    labels = random.integers(6, size=170)
    if kind == "real":
        vectors = random.standard_normal((40, 6))[random.integers(40, size=150)]  # with equal ones
        return (
            RealCodes(random.standard_normal((20, 6))),
            RealCodes(vectors, similarity),
            labels[:20],
            labels[20:],
        )
    books = random.standard_normal((3, 5, 4))
    gallery = QuantizedCodes(random.integers(5, size=(150, 3)), books, kind, similarity)
    return RealCodes(random.standard_normal((20, gallery.dimensions))), gallery, labels[:20], labels[20:]


@pytest.mark.parametrize("kind", ["product", "additive"])
@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_quantized_codes_rank_alike_in_every_kernel(kind: str, similarity: str) -> None:
    case = real_case(kind, similarity)
    expected = evaluate(*case, kernel="numpy").groups
    for settings in (
        {"kernel": "numba"},
        {"kernel": "torch"},
        {"kernel": "numba", "threads": 3, "memory": 1000},
    ):
        assert same(evaluate(*case, **settings).groups, expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_real_codes_score_alike_in_every_kernel(similarity: str) -> None:
    case = real_case("real", similarity)
    expected = evaluate(*case, kernel="numpy").scores
    for settings in (
        {"kernel": "numba"},
        {"kernel": "torch"},
        {"kernel": "numba", "threads": 3, "memory": 1000},
    ):
        assert evaluate(*case, **settings).scores == pytest.approx(expected, abs=1e-6)


def test_the_torch_kernel_counts_alike_under_autocast() -> None:
    case = binary_case(1024)
    expected = evaluate(*case, kernel="numpy").groups
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(evaluate(*case, kernel="torch").groups, expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_signs_as_real_codes_tie_where_their_hamming_distances_do(similarity: str) -> None:
    queries, gallery, *labels = binary_case(12, g=600)
    expected = evaluate(queries, gallery, *labels).scores
    signs = [np.where(codes.bits, 1.0, -1.0) for codes in (queries, gallery)]
    case = RealCodes(signs[0]), RealCodes(signs[1], similarity), *labels
    for settings in ({"kernel": "numba"}, {"kernel": "numba", "memory": 1}, {"kernel": "torch"}):
        scores = evaluate(*case, **settings).scores
        for name in ("map", "map_best_ties", "map_worst_ties"):
            assert scores[name] == pytest.approx(expected[name], abs=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_a_ranking_does_not_depend_on_the_scale_of_the_vectors(similarity: str, scale: float) -> None:
    queries, gallery, *labels = real_case("real", similarity)
    expected = evaluate(queries, gallery, *labels).scores
    scale = 2.0 ** int(np.log2(scale))
    scaled = RealCodes(queries.vectors * scale), RealCodes(gallery.vectors * scale, similarity)
    for kernel in ("numba", "numpy", "torch"):
        assert evaluate(*scaled, *labels, kernel=kernel).scores == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kernel", ["numba", "numpy"])
@pytest.mark.parametrize(
    "settings", [{"threads": 1}, {"threads": 2}, {"threads": 5}, {"memory": 1}, {"memory": 10**5}]
)
def test_blocks_and_threads_change_nothing(kernel: str, settings) -> None:
    for bits, multi in ((48, False), (64, True), (130, False)):
        case = binary_case(bits, multi, q=37)
        expected = evaluate(*case, kernel="numpy", threads=1, memory=10**9).groups
        assert same(evaluate(*case, kernel=kernel, **settings).groups, expected)


def test_a_gallery_longer_than_a_block_is_counted_whole() -> None:
    random = np.random.default_rng(0)
    codes = random.random((70_001, 10)) < 0.5
    labels = random.integers(3, size=70_001)
    case = BinaryCodes(codes[:3]), BinaryCodes(codes), labels[:3], labels
    assert same(evaluate(*case, kernel="numba").groups, evaluate(*case, kernel="numpy").groups)


def test_awkward_memory_layouts_are_read_right() -> None:
    queries, gallery, query_labels, gallery_labels = binary_case(48)
    wide = np.zeros((48, 2 * len(gallery)), dtype=">i4")
    wide[:, ::2] = gallery.bits.T
    strided = BinaryCodes.from_values(wide[:, ::2].T)
    swapped = gallery_labels.astype(">i2")
    doubled = np.stack([query_labels, query_labels], axis=1).astype(">f8")[:, 0]
    expected = evaluate(queries, gallery, query_labels, gallery_labels).groups
    assert same(evaluate(queries, strided, doubled, swapped).groups, expected)


def test_one_query_and_one_item() -> None:
    bit = BinaryCodes(np.array([[True]]))
    for kernel in ("numba", "numpy"):
        scores = evaluate(bit, bit, [5], [5], kernel=kernel).scores
        assert (
            scores["map"]
            == scores["map_worst_ties"]
            == scores["precision_at_1"]
            == scores["recall_at_100"]
            == 1.0
        )
        assert scores["precision_at_10"] == 0.1


def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    script = """
import numpy as np
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.evaluation import evaluate
random = np.random.default_rng(0)
labels = random.integers(3, size=200)
for bits in (1, 5, 63, 64, 130):
    codes = random.random((200, bits)) < 0.5
    codes[1] = codes[0]; codes[2] = ~codes[0]
    evaluate(BinaryCodes(codes[:7]), BinaryCodes(codes), labels[:7], labels, kernel="numba")
gallery = QuantizedCodes(random.integers(4, size=(200, 2)), random.standard_normal((2, 4, 3)))
evaluate(RealCodes(random.standard_normal((7, 6))), gallery, labels[:7], labels, kernel="numba")
"""
    settings = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_a_writable_folder_kernels_are_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*arguments):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "_Cache", nowhere)
    assert compiled.compiled(lambda x: x + 1)(1) == 2


SCORE = """
import numpy as np
from fghash.codes import BinaryCodes
from fghash.evaluation import evaluate
random = np.random.default_rng(0)
gallery, queries = (BinaryCodes.from_signs(random.standard_normal((n, 16))) for n in (30, 6))
print(evaluate(queries, gallery, np.arange(6) % 3, np.arange(30) % 3).scores["map"])
"""


def score_in_a_process(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCORE],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.xdist_group("processes")
def test_a_compiler_that_is_off_and_a_damaged_cache_cost_time_only(tmp_path: Path) -> None:
    expected = score_in_a_process(NUMBA_CACHE_DIR=str(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for path in files:
        path.write_bytes(b"damaged")
    assert score_in_a_process(NUMBA_CACHE_DIR=str(tmp_path)) == expected
    assert score_in_a_process(NUMBA_DISABLE_JIT="1") == expected


@pytest.mark.parametrize("value", ["2", 0, True, 1.5])
def test_threads_are_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match=r"threads: .*, expected a whole number of 1 or more"):
        Work.of(threads=value)  # type: ignore[arg-type]


def test_without_numba_numpy_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    case = binary_case(24)
    expected = evaluate(*case).groups
    assert Work.of().kernel == "numba"
    monkeypatch.setitem(sys.modules, "numba", None)
    assert Work.of().kernel == "numpy"
    assert same(evaluate(*case).groups, expected)
    with pytest.raises(InputError, match="kernel: 'numba', which cannot be imported"):
        evaluate(*case, kernel="numba")


def test_devices_that_are_not_there_are_refused() -> None:
    case = binary_case(8)
    for name in ("cuda:77", "meta", "hpu", "", "nonsense"):
        with pytest.raises(InputError, match=f"device: '{name}', which torch cannot use here"):
            evaluate(*case, device=name)
    with pytest.raises(InputError, match="expected auto or torch with device 'cuda'"):
        evaluate(*case, kernel="numba", device="cuda")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 << 29), ("4g", 4 * 10**9), (10**7, 10**7)],
)
def test_memory_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-2GB", "2XB", "GB", "100KB", "0", "1e9"])
def test_other_memory_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="memory: "):
        parse_memory(text)


def test_blocks_cover_all_queries_once_and_respect_the_memory() -> None:
    for n in (1, 2, 5, 256, 1001):
        for memory in (1, 1000, 10**9):
            for threads in (1, 3):
                blocks = Work(memory=memory, threads=threads).blocks(n, 100)
                assert [i for start, stop in blocks for i in range(start, stop)] == list(range(n))
                longest = max(stop - start for start, stop in blocks)
                assert longest <= 1024
                assert longest == 1 or longest * 100 * threads <= memory


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "no")
    assert default_threads() >= 1


def test_progress_goes_to_the_error_stream_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    case = binary_case(16)
    assert same(evaluate(*case, progress=True).groups, evaluate(*case).groups)
    assert capsys.readouterr().out == ""


def test_a_failing_block_stops_the_others() -> None:
    def task(start: int, stop: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Work(threads=2).map(task, [(0, 1), (1, 2), (2, 3)])
