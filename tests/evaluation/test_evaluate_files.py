from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, save_codes
from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, evaluate, evaluate_files, report, write_json

RNG = np.random.default_rng(3)
QUERIES, GALLERY = BinaryCodes(RNG.random((5, 12)) < 0.5), BinaryCodes(RNG.random((9, 12)) < 0.5)
QUERY_LABELS, GALLERY_LABELS = np.arange(5) % 3, np.arange(9) % 3


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    save_codes(tmp_path / "g.npz", GALLERY, GALLERY_LABELS)
    save_codes(tmp_path / "q.npz", QUERIES, QUERY_LABELS)
    return tmp_path / "g.npz", tmp_path / "q.npz"


def test_files_give_the_scores_of_the_codes(files: tuple[Path, Path]) -> None:
    protocol = RetrievalProtocol(cutoffs=(1, 10))
    evaluation = evaluate_files(*files, protocol)
    assert evaluation.scores == evaluate(QUERIES, GALLERY, QUERY_LABELS, GALLERY_LABELS, protocol).scores
    expected = {"map", "map_best_ties", "map_worst_ties", "precision_hamming_radius_2", "bits", "protocol"}
    expected |= {f"{name}_at_{k}" for name in ("map", "precision", "recall") for k in (1, 10)}
    expected |= {"n_queries", "n_gallery", "n_queries_without_relevant"}
    assert set(report(evaluation)) == expected
    assert report(evaluation)["protocol"] == "fghash-1@1,10"


def test_the_report_is_plain_json(files: tuple[Path, Path], tmp_path: Path) -> None:
    values = report(evaluate_files(*files))
    write_json(tmp_path / "out.json", values)
    assert json.loads((tmp_path / "out.json").read_text()) == values
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.npz", "out.json", "q.npz"]
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "absent" / "out.json", values)


def test_without_a_relevant_item_the_means_are_null(tmp_path: Path) -> None:
    save_codes(tmp_path / "g.npz", GALLERY, GALLERY_LABELS)
    save_codes(tmp_path / "q.npz", QUERIES, QUERY_LABELS + 100)
    values = report(evaluate_files(tmp_path / "g.npz", tmp_path / "q.npz"))
    assert values["n_queries_without_relevant"] == values["n_queries"] == 5
    assert values["map"] is values["map_best_ties"] is values["recall_at_10"] is None
    assert values["precision_hamming_radius_2"] is None


def test_quantized_galleries_take_real_queries(tmp_path: Path) -> None:
    gallery = QuantizedCodes(RNG.integers(0, 4, (9, 2)), RNG.standard_normal((2, 4, 3)), "product", "dot")
    queries = RealCodes(RNG.standard_normal((5, 6)))
    save_codes(tmp_path / "g.npz", gallery, GALLERY_LABELS)
    np.savez(tmp_path / "q.npz", embeddings=queries.vectors, labels=QUERY_LABELS)
    values = report(evaluate_files(tmp_path / "g.npz", tmp_path / "q.npz"))
    assert values["bits"] == 4
    assert values["precision_hamming_radius_2"] is None
    assert 0 < values["map"] <= 1


BAD = {
    "bits": (BinaryCodes(np.ones((9, 13), bool)), GALLERY_LABELS, "bits: queries have 12, the gallery 13"),
    "kind": (
        RealCodes(np.ones((9, 3))),
        GALLERY_LABELS,
        "codes: queries are BinaryCodes, the gallery RealCodes",
    ),
    "label kind": (GALLERY, np.eye(9, dtype=int), "labels: queries have integers, the gallery multi-hot"),
    "empty": (BinaryCodes(np.ones((0, 12), bool)), np.zeros(0, int), "gallery: 0 items, expected at least 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_do_not_fit_are_refused_in_one_line(files: tuple[Path, Path], name: str) -> None:
    codes, labels, words = BAD[name]
    save_codes(files[0], codes, labels)
    with pytest.raises(InputError) as caught:
        evaluate_files(*files)
    assert words in str(caught.value)
    assert "g.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_multi_hot_matrices_of_other_width_and_queries_of_other_width_are_refused() -> None:
    with pytest.raises(InputError, match="queries have 3 classes, the gallery 4"):
        evaluate(QUERIES, GALLERY, np.ones((5, 3), int), np.ones((9, 4), int))
    gallery = QuantizedCodes(np.zeros((9, 2), int), np.ones((2, 4, 3)), "product", "dot")
    with pytest.raises(InputError, match="queries: 5 dimensions, the gallery has 6"):
        evaluate(RealCodes(np.ones((5, 5))), gallery, QUERY_LABELS, GALLERY_LABELS)
    with pytest.raises(InputError, match="queries: 5 dimensions, the gallery has 4"):
        evaluate(RealCodes(np.ones((5, 5))), RealCodes(np.ones((9, 4))), QUERY_LABELS, GALLERY_LABELS)
    with pytest.raises(InputError, match="gallery: 4 labels for 9 codes"):
        evaluate(QUERIES, GALLERY, QUERY_LABELS, GALLERY_LABELS[:4])
    with pytest.raises(InputError, match="queries: 0 items"):
        evaluate(QUERIES.take([]), GALLERY, QUERY_LABELS[:0], GALLERY_LABELS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cutoffs": (0,)}, "cutoffs: 0, expected integers from 1"),
        ({"cutoffs": (10, -1)}, "cutoffs: -1"),
        ({"cutoffs": (2.5,)}, "cutoffs: 2.5"),
        ({"cutoffs": (5, 5)}, r"cutoffs: \[5, 5\]"),
        ({"cutoffs": ()}, r"cutoffs: \[\]"),
        ({"cutoffs": ("a",)}, "cutoffs: a, expected integers"),
        ({"cutoffs": (float("nan"),)}, "cutoffs: nan"),
        ({"cutoffs": (float("inf"),)}, "cutoffs: inf"),
        ({"cutoffs": (10**16,)}, "cutoffs: 10000000000000000, expected integers from 1 to"),
        ({"version": 2}, "version: 2"),
        ({"radius": -1}, "radius: -1"),
        ({"radius": 1.5}, "radius: 1.5, expected an integer"),
        ({"radius": True}, "radius: True"),
    ],
)
def test_protocols_without_meaning_are_refused(settings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        RetrievalProtocol(**settings)


def test_cutoffs_far_beyond_the_gallery() -> None:
    far = 2**31 + 5
    protocol = RetrievalProtocol(cutoffs=(len(GALLERY), far))
    for convention in ("fghash", "fghash-hits", "fghash-relevant", "orthohash"):
        scores = evaluate(
            QUERIES, GALLERY, QUERY_LABELS, GALLERY_LABELS, replace(protocol, convention=convention)
        ).scores
        assert scores[f"map_at_{far}"] == scores["map"]
        if convention != "orthohash":
            assert scores[f"recall_at_{far}"] == 1
            assert scores[f"precision_at_{far}"] == pytest.approx(
                scores[f"precision_at_{len(GALLERY)}"] * len(GALLERY) / far
            )


def test_protocol_names_are_distinct() -> None:
    names = {
        RetrievalProtocol(cutoffs=cutoffs, radius=radius).name
        for cutoffs in ((1,), (1, 10), (10,), (110,))
        for radius in (2, 3)
    }
    assert len(names) == 8
    assert RetrievalProtocol(cutoffs=(10, 1)).name == RetrievalProtocol(cutoffs=(1, 10)).name


@pytest.mark.parametrize("settings", [{"kernel": "fast"}, {"threads": 0}, {"memory": 0}])
def test_settings_without_meaning_are_refused(settings) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        evaluate(QUERIES, GALLERY, QUERY_LABELS, GALLERY_LABELS, **settings)


def test_evaluating_files_never_imports_torch(files: tuple[Path, Path]) -> None:
    script = (
        "import sys; from fghash.evaluation import evaluate_files;"
        f"print(evaluate_files({str(files[0])!r}, {str(files[1])!r}).scores['map']);"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == evaluate(QUERIES, GALLERY, QUERY_LABELS, GALLERY_LABELS).scores["map"]
