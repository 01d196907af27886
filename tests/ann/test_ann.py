"""The efficiency table: its bed, its indexes against exact search, its command."""

import csv
import json

import numpy as np
import pytest

from fghash import api
from fghash.ann import indexes, measure, written
from fghash.ann.bed import Bed, Growth, make_bed
from fghash.cli import main
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError

pytest.importorskip("faiss", exc_type=ImportError)
SMALL = {"families": 2, "classes_per_family": 3, "train_images": 20, "query_images": 4, "image_size": 32}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of binary codes, one of codewords and one of real vectors on the same images."""
    store = tmp_path_factory.mktemp("runs")
    data = {"name": "synthetic", **SMALL}
    return {
        name: api.fit(method=name, data=data, bits=16, gpus=0, runs=str(store), backbone="test_resnet").folder
        for name in ("itq", "pq", "frozen")
    }


@pytest.fixture(scope="module")
def bed(runs):
    return make_bed(runs["itq"], runs["frozen"])


def brute(queries, gallery, k):
    distances = ((queries[:, None] - gallery[None]) ** 2).sum(2)
    return distances.argsort(1, kind="stable")[:, :k]


def test_the_bed_is_the_runs(runs, bed):
    frozen, labels = api.RunFolder(runs["frozen"]).read_codes(96 * 32, "network", "gallery")
    unit = frozen.vectors / np.linalg.norm(frozen.vectors, axis=1, keepdims=True)
    assert np.allclose(bed.real, unit, atol=1e-6)
    assert np.array_equal(bed.labels, labels)
    assert (len(bed.real), len(bed.real_queries), bed.codes.bits_per_item) == (120, 24, 16)


def test_a_grown_gallery_begins_with_its_own_items_and_its_codes_are_the_methods(runs, bed):
    grown = make_bed(runs["itq"], runs["frozen"], growth=Growth(items=400, jitter=0.1, seed=3))
    again = make_bed(runs["itq"], runs["frozen"], growth=Growth(items=400, jitter=0.1, seed=3))
    assert np.array_equal(grown.real, again.real)
    assert np.array_equal(grown.real[:120], bed.real)
    assert np.array_equal(grown.codes.bits[:120], bed.codes.bits)
    assert np.array_equal(grown.labels, bed.labels[np.arange(400) % 120])
    same = make_bed(runs["itq"], runs["frozen"], growth=Growth(items=400, jitter=0.0))
    assert np.array_equal(same.codes.bits, bed.codes.bits[np.arange(400) % 120])
    assert (grown.codes.bits != same.codes.bits).mean() < 0.3


def test_fewer_dimensions_are_the_principal_ones(runs, bed):
    few = make_bed(runs["itq"], runs["frozen"], dimensions=5, n_queries=7)
    assert few.real.shape == (120, 5)
    assert few.real_queries.shape == (7, 5)
    centred = bed.real - bed.real.mean(0)
    assert np.allclose((few.real**2).sum(), np.sort(np.linalg.svd(centred)[1] ** 2)[-5:].sum(), rtol=1e-3)


@pytest.mark.parametrize("name", ["linear", "balltree", "kdtree"])
def test_exact_indexes_find_the_exact_neighbours(name, bed):
    search = next(iter(indexes.KINDS[name].build(bed).searches.values()))
    found, expected = search(np.arange(24), 10), brute(bed.real_queries, bed.real, 10)
    assert np.mean(found == expected) > 0.99
    assert np.array_equal(measure.exact_neighbours(bed), found) or name != "linear"


@pytest.mark.parametrize("name", list(indexes.KINDS))
def test_every_index_finds_better_than_chance_at_its_greatest_effort(name, bed):
    built = indexes.KINDS[name].build(bed)
    *_, search = built.searches.values()
    found = search(np.arange(24), 10)
    assert found.shape == (24, 10)
    assert built.n_bytes > 0
    assert measure.recall(found, measure.exact_neighbours(bed)) > 3 * 10 / 120


def test_binary_searches_agree_with_ours_and_reranking_orders_by_vectors(bed):
    flat, ours = (indexes.KINDS[name].build(bed).searches[""] for name in ("binary_flat", "codes"))
    differing = bed.query_codes.bits[:, None] != bed.codes.bits[None]
    expected = np.sort(differing.sum(2), axis=1)[:, :10]
    for search in (flat, ours):
        found = search(np.arange(24), 10)
        assert np.array_equal(np.take_along_axis(differing.sum(2), found, 1), expected)
    first = np.arange(90)
    everything = Bed(
        bed.real_queries, bed.real[first], bed.query_codes, bed.codes.take(first), bed.query_labels,
        bed.labels[first],
    )  # fmt: skip
    reranked = indexes.KINDS["codes_reranked"].build(everything).searches[""](np.arange(24), 10)
    assert np.mean(reranked == brute(bed.real_queries, bed.real[:90], 10)) > 0.99


def test_a_code_of_other_lengths_than_bytes_is_searched_exactly():
    random = np.random.default_rng(0)
    codes, queries = (BinaryCodes(random.random((n, 12)) < 0.5) for n in (50, 5))
    real = random.standard_normal((50, 4)).astype(np.float32)
    bed = Bed(real[:5], real, queries, codes, np.zeros(5, int), np.zeros(50, int))
    found = indexes.KINDS["binary_flat"].build(bed).searches[""](np.arange(5), 3)
    differing = (queries.bits[:, None] != codes.bits[None]).sum(2)
    assert np.array_equal(np.take_along_axis(differing, found, 1), np.sort(differing, 1)[:, :3])


def test_nothing_found_counts_as_wrong(bed):
    found = np.full((24, 10), -1)
    assert not bed.right(found).any()
    assert measure.recall(found, measure.exact_neighbours(bed)) == 0


def test_right_of_several_labels():
    codes, real = RealCodes(np.zeros((2, 1))), np.zeros((2, 1), np.float32)
    bed = Bed(real, real, codes, codes, np.array([[1, 0], [0, 1]]), np.array([[1, 1], [1, 0]]))
    assert bed.right(np.array([[0, 1], [0, 1]])).tolist() == [[True, True], [True, False]]


def test_quantized_codes_have_the_indexes_that_suit_them(runs):
    bed = make_bed(runs["pq"])
    assert isinstance(bed.codes, QuantizedCodes)
    names = [name for name, _ in indexes.chosen(None, bed)]
    assert "codes" in names
    assert "binary_flat" not in names
    with pytest.raises(
        InputError, match="--indexes: binary_flat needs binary codes, the run's are QuantizedCodes"
    ):
        list(indexes.chosen(["binary_flat"], bed))
    found = indexes.KINDS["codes"].build(bed).searches[""](np.arange(24), 10)
    assert measure.recall(found, measure.exact_neighbours(bed)) > 0.5


def test_the_command_writes_table_and_plot_and_goes_on_where_it_was(runs, tmp_path, capsys):
    words = ["ann", "--run", str(runs["itq"]), "--vectors", str(runs["frozen"]), "--out", str(tmp_path)]
    words += ["--seconds", "0.05", "--indexes", "hnsw", "codes"]
    assert main(words) == 0
    rows = list(csv.DictReader((tmp_path / written.TABLE).open()))
    assert [row["index"] for row in rows] == ["linear", "hnsw", "hnsw", "hnsw", "codes"]
    assert (float(rows[0]["ratio"]), float(rows[0]["recall_at_10"])) == (1, 1)
    assert all(float(row["p50_ms"]) <= float(row["p99_ms"]) for row in rows)
    assert (tmp_path / written.PLOT).read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / written.MARKDOWN).read_text().startswith("120 items, 24 queries")
    lines = (tmp_path / written.ROWS).read_text().splitlines()
    (tmp_path / written.ROWS).write_text("\n".join([*lines[:2], lines[2][:20]]) + "\n")
    assert "building hnsw" in capsys.readouterr().out
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "building linear" not in shown
    assert "building codes" in shown
    again = list(csv.DictReader((tmp_path / written.TABLE).open()))
    assert again[0] == rows[0]
    assert main([*words, "--again"]) == 0
    assert "building linear" in capsys.readouterr().out


def test_rows_of_another_bed_are_not_taken(runs, bed, tmp_path):
    row = measure.Row("linear", "", "vectors", *([0.5] * 10), 3)
    written.append(tmp_path, written.bed_key(bed, 1.0), row)
    assert written.known_rows(tmp_path, written.bed_key(bed, 1.0))[("linear", "")]["timed"] == 3
    assert not written.known_rows(tmp_path, written.bed_key(bed, 2.0))
    other = make_bed(runs["itq"], runs["frozen"], n_queries=3)
    assert not written.known_rows(tmp_path, written.bed_key(other, 1.0))
    assert json.loads((tmp_path / written.ROWS).read_text())["row"]["index"] == "linear"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--run": "nowhere"}, "--run: 'nowhere' is not the folder of a finished run"),
        ({"--bits": "12"}, "--bits: 12, expected one of 16"),
        ({"--items": "5"}, "--items: 5, expected 120"),
        ({"--dimensions": "97"}, "--dimensions: 97, expected 1 to 96"),
        ({"--seconds": "0"}, "--seconds: 0.0"),
        ({"--jitter": "-1"}, "--jitter: -1.0"),
        ({"--indexes": "annoy"}, "--indexes: unknown index 'annoy'"),
        ({"--out": "FILE"}, "is a file, expected a folder"),
    ],
)
def test_bad_input_is_one_line(change, message, runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = {
        "--run": str(runs["itq"]),
        "--vectors": str(runs["frozen"]),
        "--out": str(tmp_path / "out"),
        **change,
    }
    words = [word.replace("FILE", str(tmp_path / "file")) for pair in given.items() for word in pair]
    assert main(["ann", *words]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_vectors_of_other_items_are_refused(runs, tmp_path):
    data = {"name": "synthetic", **SMALL, "train_images": 21}
    other = api.fit(method="frozen", data=data, bits=16, gpus=0, runs=str(tmp_path)).folder
    with pytest.raises(InputError, match="is of other items than"):
        make_bed(runs["itq"], other)


def test_what_too_few_items_cannot_have_is_said_and_left_out(bed, capsys):
    few = np.arange(4)
    small = Bed(
        bed.real_queries, bed.real[few], bed.query_codes, bed.codes.take(few), bed.query_labels,
        bed.labels[few],
    )  # fmt: skip
    said = []
    exact = measure.exact_neighbours(bed)
    assert not list(measure._rows(small, "ivf_pq", indexes.KINDS["ivf_pq"], exact, 0.1, said.append))
    assert any(line.startswith("  ivf_pq: not built") for line in said)
