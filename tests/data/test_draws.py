"""Random numbers as pure functions of their key."""

from __future__ import annotations

import numpy as np

from fghash.data.draws import bits, permutation, uniforms


def splitmix(state: int) -> int:
    """The published finaliser, in Python integers."""
    full = 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & full
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & full
    return state ^ (state >> 31)


def reference(key: list[int], count: int) -> list[int]:
    full, golden, state = 2**64 - 1, 0x9E3779B97F4A7C15, 0
    for part in key:
        state = splitmix((state + golden + part) & full)
    return [splitmix((state + k * golden) & full) for k in range(1, count + 1)]


def test_words_are_splitmix_of_the_key():
    assert bits(3, -1, 2**40, count=4).tolist() == reference([3, -1, 2**40], 4)


def test_a_row_does_not_depend_on_its_neighbours():
    together = uniforms(7, 2, np.arange(100), count=5)
    assert together.shape == (100, 5)
    assert (together[41] == uniforms(7, 2, 41, count=5)).all()


def test_numbers_are_uniform_and_uncorrelated():
    numbers = uniforms(0, np.arange(20_000), count=2)
    assert 0 <= numbers.min() < numbers.max() < 1
    histogram = np.histogram(numbers, 20, (0, 1))[0] / numbers.size
    assert abs(histogram - 0.05).max() < 0.004
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.02


def test_permutations_hold_every_position_once_and_differ_by_key():
    first, second = permutation(0, 1, n=500), permutation(0, 2, n=500)
    assert sorted(first) == list(range(500))
    assert (first != second).mean() > 0.9
    assert (first == permutation(0, 1, n=500)).all()
