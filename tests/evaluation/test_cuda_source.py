"""The text of the GPU's counting kernel, run on the CPU, against the numpy kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from binary_cases import binary_case, same
from cuda_on_cpu import build, needs_gxx, pointers
from fghash.codes import BinaryCodes
from fghash.evaluation import evaluate
from fghash.evaluation.kernels import hamming, hamming_cuda, hamming_torch
from fghash.evaluation.kernels.hamming_cuda import Compiled, Plan
from fghash.evaluation.work import Work

pytestmark = needs_gxx

FUNCTIONS = r"""
typedef unsigned* P; typedef int* I;
extern "C" void all(int w, int h, int threads, P q, int nq, P g, int ng, int share, I total) {
    launch(w, h, threads, [=] { count_all(q, nq, g, ng, share, total); });
}
extern "C" void runs(int w, int h, int threads, P q, P g, I offsets, I starts, I stops, I relevant) {
    launch(w, h, threads, [=] { count_runs(q, g, offsets, starts, stops, relevant); });
}
"""


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, Any], Compiled]:
    """``compiled`` of hamming_cuda, whose kernels run here."""
    folder = tmp_path_factory.mktemp("cuda")

    def compiled(bits: int, device: Any) -> Compiled:
        plan = Plan.of(bits)
        loaded = build(folder, str(bits), plan.source, FUNCTIONS)
        return Compiled(plan, _launched(loaded.all), _launched(loaded.runs))

    return compiled


def _launched(function: Any) -> Callable[..., None]:
    def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any], shared_mem: int) -> None:
        assert shared_mem <= 4 << 20
        function(grid[0], grid[1], block[0], *pointers(arguments))

    return launch


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch, emulated: Callable[[int, Any], Compiled]) -> None:
    """evaluate(kernel="torch") goes the way of a GPU, on the CPU."""
    monkeypatch.setattr(hamming_cuda, "compiled", emulated)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    two = SimpleNamespace(multi_processor_count=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: two)

    def prepare(gallery: np.ndarray, bits: int, work: Work) -> Any:
        return hamming_cuda.prepare(gallery, bits, torch.device("cpu"))

    monkeypatch.setattr(hamming_torch, "prepare", prepare)
    assert hamming._prepare.__module__ == hamming.__name__


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("bits", [1, 12, 33, 64, 129, 256, 383, 512, 2048])
@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_the_gpus_kernel_counts_alike(bits: int, multi: bool) -> None:
    case = binary_case(bits, multi, q=131 if bits < 100 else 13, g=300)
    expected = evaluate(*case, kernel="numpy").groups
    assert same(evaluate(*case, kernel="torch").groups, expected)


@pytest.mark.usefixtures("on_gpu")
def test_a_gallery_of_many_shares_and_a_class_that_does_not_occur() -> None:
    random = np.random.default_rng(0)
    codes = random.random((9000, 16)) < 0.5
    labels = random.integers(3, size=9000)
    queries = BinaryCodes(codes[:5])
    case = (queries, BinaryCodes(codes), np.array([0, 1, 2, 7, 1]), labels)
    assert same(evaluate(*case, kernel="torch").groups, evaluate(*case, kernel="numpy").groups)


def test_a_block_fits_a_gpus_shared_memory() -> None:
    for bits in range(1, hamming_cuda.MOST_BITS + 1):
        plan = Plan.of(bits)
        assert plan.shared_bytes <= 160 * 1024
        assert plan.words * 32 >= bits > (plan.words - 1) * 32
