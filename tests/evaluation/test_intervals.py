from __future__ import annotations

import numpy as np
import pytest

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.evaluation import (
    RetrievalProtocol,
    bootstrap_intervals,
    compare,
    evaluate,
    format_comparison,
    intervals,
    scores_by_query,
)

PROTOCOL = RetrievalProtocol(cutoffs=(5,))


def groups_of(noise: float, seed: int = 0, q: int = 80, classes: int = 5, shift: int = 0):
    random = np.random.default_rng(1)
    centres = random.random((classes, 24)) < 0.5
    labels = random.integers(classes, size=q + 200)
    codes = centres[labels] ^ (np.random.default_rng(seed).random((q + 200, 24)) < noise)
    return evaluate(BinaryCodes(codes[:q]), BinaryCodes(codes[q:]), labels[:q] + shift, labels[q:]).groups


def test_intervals_match_the_normal_approximation_of_the_mean() -> None:
    groups = groups_of(0.3)
    got = bootstrap_intervals(groups, PROTOCOL, samples=4000)
    for name, values in scores_by_query(groups, PROTOCOL).items():
        low, high = got[name]
        spread = values.std() / np.sqrt(len(values))
        assert low <= values.mean() <= high
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.12)
    wide = bootstrap_intervals(groups, PROTOCOL, samples=4000, confidence=0.99)["map"]
    assert wide[0] < got["map"][0] < got["map"][1] < wide[1]


def test_intervals_are_the_percentiles_of_plain_resampling() -> None:
    groups = groups_of(0.35, q=30)
    values = scores_by_query(groups, PROTOCOL)["map"]
    random = np.random.default_rng(3)
    means = [values[random.integers(30, size=30)].mean() for _ in range(500)]
    expected = np.quantile(means, [0.025, 0.975])
    assert bootstrap_intervals(groups, PROTOCOL, samples=500, seed=3)["map"] == pytest.approx(tuple(expected))


def test_intervals_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = groups_of(0.35)
    expected = (
        bootstrap_intervals(groups, PROTOCOL, samples=300),
        compare(groups, groups_of(0.3), PROTOCOL, samples=300),
    )
    monkeypatch.setattr(intervals, "_CELLS", 100)
    again = bootstrap_intervals(groups, PROTOCOL, samples=300)
    assert again["map"] == pytest.approx(expected[0]["map"])
    again = compare(groups, groups_of(0.3), PROTOCOL, samples=300)
    assert again["map"] == pytest.approx(expected[1]["map"])


def test_without_a_query_that_counts_there_is_no_interval() -> None:
    assert bootstrap_intervals(groups_of(0.3, shift=100), PROTOCOL) == {}


def test_the_better_run_is_found_and_equal_runs_are_not_told_apart() -> None:
    noisy, clean = groups_of(0.3), groups_of(0.25, seed=5)
    found = compare(noisy, clean, PROTOCOL, samples=2000)
    assert found["n_queries"] == 80
    assert found["protocol"] == PROTOCOL.name
    row = found["map"]
    assert row["b"] - row["a"] == pytest.approx(row["difference"])
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["p_value"] == pytest.approx(1 / 2001)
    back = compare(clean, noisy, PROTOCOL, samples=2000)["map"]
    assert (back["difference"], back["low"]) == pytest.approx((-row["difference"], -row["high"]), rel=0.05)
    same = compare(noisy, noisy, PROTOCOL, samples=500)["map"]
    assert (same["difference"], same["low"], same["high"], same["p_value"]) == (0, 0, 0, 1)
    text = format_comparison(found)
    assert text.splitlines()[0].split() == ["score", "a", "b", "difference", "low", "high", "p_value"]
    assert "80 queries" in text


def test_the_p_value_is_that_of_all_exchanges() -> None:
    a, b = groups_of(0.3, q=9), groups_of(0.25, seed=9, q=9)
    gaps = scores_by_query(b, PROTOCOL)["map"] - scores_by_query(a, PROTOCOL)["map"]
    signs = 1 - 2 * (np.arange(512)[:, None] >> np.arange(9) & 1)
    exact = np.mean(np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12)
    assert compare(a, b, PROTOCOL, samples=20000)["map"]["p_value"] == pytest.approx(exact, abs=0.012)


def test_a_difference_of_zero_is_no_difference_however_it_rounds() -> None:
    gaps = np.array([[0.1], [0.1], [0.1], [-0.3]])
    assert gaps.mean() != 0
    row = intervals._compared(["map"], np.zeros((4, 1)), gaps, 2000, 0)["map"]
    assert row["p_value"] == 1


def test_p_values_are_uniform_when_runs_differ_by_chance() -> None:
    random = np.random.default_rng(0)
    values = [
        intervals._compared(["x"], np.zeros((25, 1)), random.standard_normal((25, 1)), 200, seed)["x"][
            "p_value"
        ]
        for seed in range(200)
    ]
    assert np.mean(np.array(values) <= 0.25) == pytest.approx(0.25, abs=0.09)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"q": 79}, "80 and 79 queries"),
        ({"shift": 1}, "query 0 has"),
    ],
)
def test_runs_on_other_queries_are_refused(other, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare(groups_of(0.3), groups_of(0.3, **other), PROTOCOL)


def test_meaningless_settings_are_refused() -> None:
    groups = groups_of(0.3)
    with pytest.raises(InputError, match="samples: 5"):
        bootstrap_intervals(groups, PROTOCOL, samples=5)
    with pytest.raises(InputError, match="samples: 0"):
        compare(groups, groups, PROTOCOL, samples=0)
    with pytest.raises(InputError, match=r"confidence: 1\.0"):
        bootstrap_intervals(groups, PROTOCOL, confidence=1.0)
