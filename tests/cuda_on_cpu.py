"""CUDA sources compiled by g++ and run on the CPU, a thread a CUDA thread, block after block.

Whether a kernel is fast only a GPU tells (tests/gpu); whether it computes right this tells everywhere.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

_SHIM = r"""
#include <barrier>
#include <cstddef>
#include <thread>
#include <vector>
struct Place { int x, y, z; };
static thread_local Place threadIdx, blockIdx;
static Place blockDim;
static std::barrier<>* together;
alignas(16) unsigned shared[1 << 20];
#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __align__(n) alignas(n)
static int __popc(unsigned word) { return __builtin_popcount(word); }
static void __syncthreads() { together->arrive_and_wait(); }
static int atomicAdd(int* at, int n) { return __atomic_fetch_add(at, n, __ATOMIC_RELAXED); }
"""
_LAUNCH = r"""
// Threads that meet (__syncthreads) run at once, others one after another.
template <class Body> static void apart(int width, int height, int depth, int threads, Body body) {
    blockDim = {threads, 1, 1};
    for (int z = 0; z < depth; z++) for (int y = 0; y < height; y++) for (int x = 0; x < width; x++)
        for (int t = 0; t < threads; t++) { threadIdx = {t, 0, 0}; blockIdx = {x, y, z}; body(); }
}
template <class Body> static void launch(int width, int height, int threads, Body body) {
    blockDim = {threads, 1, 1};
    for (int y = 0; y < height; y++) for (int x = 0; x < width; x++) {
        for (auto& word : shared) word = 0xDEADBEEF;
        std::barrier<> meeting(threads);
        together = &meeting;
        std::vector<std::thread> all;
        for (int t = 0; t < threads; t++) all.emplace_back([=, &meeting] {
            threadIdx = {t, 0, 0}; blockIdx = {x, y, 0};
            body();
            meeting.arrive_and_drop();
        });
        for (auto& each : all) each.join();
    }
}
"""


def build(folder: Path, name: str, source: str, functions: str) -> ctypes.CDLL:
    """A library of C ``functions`` that launch the kernels of ``source``."""
    text, library = folder / f"{name}.cpp", folder / f"{name}.so"
    text.write_text(_SHIM + source.replace("extern __shared__", "// ") + _LAUNCH + functions)
    words = [str(shutil.which("g++")), "-std=c++20", "-O1", "-w", "-pthread", "-shared", "-fPIC"]
    subprocess.run([*words, str(text), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def pointers(arguments: list[Any]) -> list[Any]:
    """Tensors as the addresses of their first elements."""
    return [ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor) else a for a in arguments]
