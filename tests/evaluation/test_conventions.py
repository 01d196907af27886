"""Each convention against a loop written from its description, over a stable sort in gallery order."""

from __future__ import annotations

import numpy as np
import pytest

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, save_codes
from fghash.errors import InputError
from fghash.evaluation import (
    CONVENTIONS,
    OWN,
    RetrievalProtocol,
    convention_table,
    convention_table_files,
    evaluate,
    format_table,
    scores_from_groups,
)


def ranked_hits(distances, relevant) -> list[int]:
    """Relevance along the ranking; Python's sort is stable."""
    return [int(relevant[item]) for item in sorted(range(len(distances)), key=lambda item: distances[item])]


def mean_precision_at_hits(hits: list[int]) -> float:
    positions = [place for place, hit in enumerate(hits, start=1) if hit]
    return sum(i / place for i, place in enumerate(positions, start=1)) / len(positions)


def hits_divisor(rankings, k, drop_queries_without_hits=False, last_item_dropped=False, without_relevant=0.0):
    values = []
    for hits in rankings:
        top = hits[:k] if k is not None else hits[:-1] if last_item_dropped else hits
        if sum(hits) == 0 and without_relevant == 1.0:
            values.append(1.0)
        elif sum(top) == 0:
            values += [] if drop_queries_without_hits else [0.0]
        else:
            values.append(mean_precision_at_hits(top))
    return np.mean(values) if values else None


def first_hits_at_any_rank(rankings, k):
    values = []
    for hits in rankings:
        total = min(len(hits) if k is None else k, sum(hits))
        if total == 0:
            values.append(0.0)
            continue
        places = [place for place, hit in enumerate(hits, start=1) if hit][:total]
        values.append(np.mean([i / place for i, place in enumerate(places, start=1)]))
    return np.mean(values)


def fixed_divisor(rankings, k, all_relevant):
    values = []
    for hits in rankings:
        if sum(hits) == 0:
            continue
        cut = len(hits) if k is None else k
        total = sum(sum(hits[:place]) / place for place, hit in enumerate(hits[:cut], start=1) if hit)
        values.append(total / (sum(hits) if all_relevant else min(cut, sum(hits))))
    return np.mean(values) if values else None


LOOPS = {
    "fghash-stable": lambda r, k: fixed_divisor(r, k, all_relevant=False),
    "deephash-pytorch": lambda r, k: hits_divisor(r, k, last_item_dropped=True),
    "semicon": lambda r, k: hits_divisor(r, k, last_item_dropped=True),
    "fish": first_hits_at_any_rank,
    "hashnet": lambda r, k: hits_divisor(r, k, drop_queries_without_hits=True),
    "deephash": lambda r, k: hits_divisor(r, k, drop_queries_without_hits=True),
    "orthohash": hits_divisor,
    "fire": hits_divisor,
    "dpq": hits_divisor,
    "mecoq": hits_divisor,
    "paddleclas": lambda r, k: hits_divisor(r, k, drop_queries_without_hits=True) if k is None else None,
    "oml": lambda r, k: hits_divisor(r, k, without_relevant=1.0),
    "pml": lambda r, k: fixed_divisor(r, k, all_relevant=True),
    "mmpretrain": lambda r, k: fixed_divisor(r, k, all_relevant=True),
    "torchmetrics": hits_divisor,
}
CUTOFFS = (1, 4, 30)


def cases():
    for seed in range(6):
        random = np.random.default_rng(seed)
        labels = (random.integers(0, 6, 8), random.integers(0, 5, 25))
        if seed % 2:
            labels = (random.random((8, 6)) < 0.2, random.random((25, 6)) < 0.2)
        relevant = [[bool(np.any(a & b)) if seed % 2 else a == b for b in labels[1]] for a in labels[0]]
        if seed < 4:
            queries, gallery = random.random((8, 4)) < 0.5, random.random((25, 4)) < 0.5
            distances = [[int((x != y).sum()) for y in gallery] for x in queries]
            yield BinaryCodes(queries), BinaryCodes(gallery), labels, distances, relevant
        elif seed == 4:
            gallery = QuantizedCodes(random.integers(0, 2, (25, 2)), random.integers(-2, 3, (2, 2, 2)))
            queries = random.integers(-2, 3, (8, 4))
            yield (
                RealCodes(queries),
                gallery,
                labels,
                [[-int(x @ y) for y in gallery.decode()] for x in queries],
                relevant,
            )
        else:
            vectors, queries = random.integers(-1, 2, (25, 2)), random.integers(-1, 2, (8, 2))
            distances = [[int(((x - y) ** 2).sum()) for y in vectors] for x in queries]
            yield RealCodes(queries), RealCodes(vectors, "l2"), labels, distances, relevant


def test_every_convention_has_a_loop() -> None:
    assert set(LOOPS) == set(CONVENTIONS)


@pytest.mark.parametrize("name", LOOPS)
def test_a_convention_equals_the_loop_of_its_description(name: str) -> None:
    lonely = 0
    for queries, gallery, labels, distances, relevant in cases():
        rankings = [ranked_hits(d, r) for d, r in zip(distances, relevant, strict=True)]
        lonely += sum(sum(hits) == 0 for hits in rankings)
        scores = evaluate(
            queries, gallery, *labels, RetrievalProtocol(cutoffs=CUTOFFS, convention=name)
        ).scores
        for key, k in (("map", None), *((f"map_at_{k}", k) for k in CUTOFFS)):
            expected = LOOPS[name](rankings, k)
            assert scores[key] == (expected if expected is None else pytest.approx(expected, abs=1e-12)), key
        assert not [key for key in scores if key.startswith(("precision", "recall"))]
    assert lonely > 0


def test_conventions_differ_on_the_same_codes() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 9, 50), random.integers(0, 8, 300)
    case = BinaryCodes(random.random((50, 6)) < 0.5), BinaryCodes(random.random((300, 6)) < 0.5), *labels
    rows = {row["convention"]: row for row in convention_table(*case, CUTOFFS)}
    assert list(rows) == [*OWN, *CONVENTIONS]
    at_4 = [rows[name]["map_at_4"] for name in ("fghash-stable", "semicon", "hashnet", "fish", "pml", "oml")]
    assert len({round(value, 9) for value in at_4}) == 6
    assert rows["semicon"]["map"] != rows["orthohash"]["map"]
    assert rows["paddleclas"]["map_at_4"] is None
    own = evaluate(*case, RetrievalProtocol(cutoffs=CUTOFFS)).scores
    assert {key: rows["fghash"][key] for key in ("map", "map_at_4")} == {
        key: own[key] for key in ("map", "map_at_4")
    }
    for row in rows.values():
        assert row["summary"]
        alone = evaluate(*case, RetrievalProtocol(cutoffs=CUTOFFS, convention=row["convention"])).scores
        assert alone["map"] == row["map"]
        assert alone["map_at_4"] == row["map_at_4"]


def test_the_table_of_files_names_them_in_errors(tmp_path) -> None:
    codes = BinaryCodes(np.eye(4, dtype=bool))
    save_codes(tmp_path / "g.npz", codes, np.arange(4))
    save_codes(tmp_path / "q.npz", codes, np.arange(4) // 2)
    rows = convention_table_files(tmp_path / "g.npz", tmp_path / "q.npz", (2,))
    assert rows == convention_table(codes, codes, np.arange(4) // 2, np.arange(4), (2,))
    assert format_table(rows).splitlines()[0].split() == ["convention", "map", "map_at_2", "summary"]
    save_codes(tmp_path / "q.npz", codes.prefix(3), np.arange(4))
    with pytest.raises(InputError, match=r"q\.npz against .*g\.npz: bits: queries have 3"):
        convention_table_files(tmp_path / "g.npz", tmp_path / "q.npz", (2,))


def test_protocols_of_conventions_have_their_names_and_need_codes() -> None:
    protocol = RetrievalProtocol(cutoffs=(10,), convention="semicon")
    assert protocol.name == "semicon-1@10"
    codes = BinaryCodes(np.eye(4, dtype=bool))
    groups = evaluate(codes, codes, np.arange(4), np.arange(4)).groups
    with pytest.raises(InputError, match="convention: 'semicon' needs codes"):
        scores_from_groups(groups, protocol)
    with pytest.raises(InputError, match=r"convention: 'semicom', expected one of .*did you mean 'semicon'"):
        RetrievalProtocol(convention="semicom")
