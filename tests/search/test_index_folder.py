"""Indexes: the neighbours and distances of the evaluator, whatever is added, removed or damaged."""

import json

import numpy as np
import pytest

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation.neighbours import nearest
from fghash.search import index_folder
from fghash.search.coded_items import CodedItems
from fghash.search.index_changes import add_items, remove_items
from fghash.search.index_folder import build_index, open_index
from fghash.search.index_manifest import MANIFEST

N, Q, K = 400, 20, 10
RANDOM = np.random.default_rng


def binary(bits, n=N, seed=0):
    return BinaryCodes(RANDOM(seed).random((n, bits)) < 0.5)


def quantized(structure, similarity, words=16, n=N, seed=0):
    random = RANDOM(7)
    books = random.standard_normal((3, words, 6)).astype(np.float32)
    return QuantizedCodes(RANDOM(seed).integers(0, words, (n, 3)), books, structure, similarity)


def real(similarity, n=N, seed=0, width=12):
    return RealCodes(RANDOM(seed).standard_normal((n, width)), similarity)


def items_of(codes, prefix="i", **more):
    return CodedItems(codes, np.array([f"{prefix}{i}" for i in range(len(codes))]), **more)


CODES = {
    **{f"binary{bits}": (binary(bits), binary(bits, Q, 1)) for bits in (4, 12, 16, 24, 48, 64, 100)},
    **{
        f"{structure}-{similarity}-{words}": (
            quantized(structure, similarity, words),
            real("dot", Q, 2, 18 if structure == "product" else 6),
        )
        for structure in ("product", "additive")
        for similarity in ("dot", "l2")
        for words in (2, 10, 16, 256, 300)
    },
    **{
        f"real-{similarity}": (real(similarity), real(similarity, Q, 3))
        for similarity in ("cosine", "dot", "l2")
    },
}


def evaluator(queries, gallery, k):
    """Distances of the evaluator; those of real vectors, which it scales by a power of two, computed."""
    positions, distances = nearest(queries, gallery, k)
    if isinstance(gallery, RealCodes):
        pairs = [(query, gallery.vectors[row]) for query, row in zip(queries.vectors, positions, strict=True)]
        if gallery.similarity == "l2":
            return np.array([((rows - query) ** 2).sum(1) for query, rows in pairs])
        norm = {"dot": lambda x: 1, "cosine": lambda x: np.linalg.norm(x, axis=-1)}[gallery.similarity]
        return np.array([-(rows @ query) / norm(rows) / norm(query) for query, rows in pairs])
    return distances


@pytest.mark.parametrize("name", CODES)
def test_exact_indexes_have_the_evaluators_neighbours(name, tmp_path):
    gallery, queries = CODES[name]
    build_index(tmp_path / "index", items_of(gallery))
    index = open_index(tmp_path / "index")
    found, gaps = index.search(queries, K)
    expected = evaluator(queries, gallery, K)
    assert np.allclose(gaps, expected, rtol=1e-5, atol=1e-5)
    for i, row in enumerate(found):
        assert len(set(row.tolist())) == K
        own = evaluator(queries.take([i]), gallery.take(row), K)
        assert np.allclose(
            own[0], gaps[i], rtol=1e-5, atol=1e-5
        )  # the items have the distances that are said


def test_twelve_bits_are_padded_and_it_is_remembered(tmp_path):
    build_index(tmp_path / "index", items_of(binary(12)))
    manifest = open_index(tmp_path / "index").manifest
    assert (manifest.bits, manifest.padded_bits) == (12, 16)


@pytest.mark.parametrize("structure", ["ivf", "hnsw"])
@pytest.mark.parametrize("name", ["binary12", "binary64", "real-cosine", "real-l2"])
def test_approximate_structures_find_all_with_all_effort(structure, name, tmp_path):
    gallery, queries = CODES[name]
    build_index(tmp_path / "index", items_of(gallery), structure, lists=8 if structure == "ivf" else None)
    index = open_index(tmp_path / "index")
    found, gaps = index.search(queries, K, effort=400)
    expected = evaluator(queries, gallery, K)
    assert (np.abs(gaps - expected) < 1e-4).mean() > (0.95 if structure == "hnsw" else 0.999)
    assert found.shape == (Q, K)


@pytest.mark.parametrize("structure", ["flat", "ivf", "hnsw"])
def test_items_are_added_and_removed(structure, tmp_path):
    gallery, queries = binary(20), binary(20, Q, 1)
    folder = tmp_path / "index"
    names = ["a", "b"]
    more = items_of(binary(20, 50, 5), "more", labels=np.zeros(50, np.int64), facts={"class_names": ["b"]})
    build_index(folder, items_of(gallery, labels=np.arange(N) % 2, facts={"class_names": names}), structure)
    add_items(folder, more)
    index = open_index(folder)
    assert len(index.items) == N + 50
    assert index.class_of(N) == "b"
    removed = [f"i{i}" for i in range(0, N, 3)]
    remove_items(folder, removed)
    index = open_index(folder)
    kept = [i for i in range(N) if i % 3]
    together = BinaryCodes(np.concatenate([gallery.bits[kept], more.codes.bits]))
    assert index.items.ids.tolist() == [*(f"i{i}" for i in kept), *more.ids.tolist()]
    _, gaps = index.search(queries, K, effort=400)
    expected = nearest(queries, together, K)[1]
    assert (gaps == expected).mean() > (0.95 if structure == "hnsw" else 0.999)
    assert {path.name for path in folder.iterdir()} == {
        MANIFEST, ".lock", *(about["name"] for about in index.manifest.files.values())
    }  # fmt: skip


def test_vectors_are_added_removed_and_ranked_by(tmp_path):
    codes, vectors = binary(16), real("cosine")
    folder = tmp_path / "index"
    build_index(folder, items_of(codes, vectors=vectors))
    add_items(folder, items_of(binary(16, 30, 4), "m", vectors=real("cosine", 30, 8)))
    remove_items(folder, ["i0", "m3"])
    index = open_index(folder)
    queries, asked = binary(16, Q, 1), real("cosine", Q, 9)
    found, _ = index.search(queries, 100)
    again, gaps = index.rerank(found, asked, K)
    for i in range(Q):
        proposed = index.vectors.take(found[i])
        order, _ = nearest(asked.take([i]), proposed, K)
        assert np.allclose(gaps[i], evaluator(asked.take([i]), proposed, K)[0], atol=1e-6)
        assert set(again[i]) == set(found[i][order[0]])


def test_what_does_not_belong_is_not_added(tmp_path):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16), facts={"encoder": "one"}))
    for more, said in (
        (items_of(binary(16, 5), "m", facts={"encoder": "two"}), "other weights"),
        (items_of(binary(16, 5)), "5 ids are in"),
        (items_of(binary(24, 5), "m"), "24 bits"),
        (items_of(real("l2", 5), "m"), "RealCodes"),
    ):
        with pytest.raises(InputError, match=said):
            add_items(folder, more)
    with pytest.raises(InputError, match="1 ids are not in"):
        remove_items(folder, ["i1", "zzz"])
    with pytest.raises(InputError, match="all 400 items"):
        remove_items(folder, [f"i{i}" for i in range(N)])
    assert len(open_index(folder).items) == N


def test_other_codebooks_are_not_added(tmp_path):
    build_index(tmp_path / "index", items_of(quantized("product", "dot")))
    other = quantized("product", "dot", n=5)
    moved = QuantizedCodes(other.indices, other.codebooks + 1, "product", "dot")
    with pytest.raises(InputError, match="different codebooks"):
        add_items(tmp_path / "index", items_of(moved, "m"))


@pytest.mark.parametrize("structure", ["flat", "hnsw"])
def test_any_damage_is_told(structure, tmp_path):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16), vectors=real("l2")), structure)
    files = [path for path in sorted(folder.iterdir()) if path.name not in (".lock", MANIFEST)]
    assert len(files) == (3 if structure == "hnsw" else 2)
    for path in files:
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (whole[:-1], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(InputError, match="is damaged"):
                open_index(folder)
            path.write_bytes(whole)
    assert len(open_index(folder).items) == N


def changed(change):
    def apply(path):
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        changed(lambda values: values.pop("kind")),
        changed(lambda values: values.update(version=99)),
        changed(lambda values: values.update(structure="tree")),
        changed(lambda values: values.update(kind="RealCodes")),
        changed(lambda values: values.update(items=3)),
        changed(lambda values: values.update(files={})),
        changed(lambda values: values.update(facts=3)),
        changed(lambda values: values["files"]["items"].update(name="../items.1.npz")),
        changed(lambda values: values["files"].update(items=3)),
        changed(lambda values: values.update(unknown=1)),
    ],
)
def test_a_damaged_manifest_is_told(damage, tmp_path):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16)))
    damage(folder / MANIFEST)
    with pytest.raises(InputError, match="is damaged"):
        open_index(folder)


def test_a_change_that_fails_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16)))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_folder, "save_arrays", full)
    with pytest.raises(InputError, match="No space left"):
        add_items(folder, items_of(binary(16, 5), "m"))
    with pytest.raises(InputError, match="No space left"):
        build_index(tmp_path / "new", items_of(binary(16)))
    assert not (tmp_path / "new").exists()
    assert len(open_index(folder).items) == N


def test_two_changes_at_once_are_refused(tmp_path):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16)))
    with index_folder.locked(folder), pytest.raises(InputError, match="another process"):
        remove_items(folder, ["i1"])


@pytest.mark.parametrize(
    ("codes", "queries", "said"),
    [
        (binary(16), binary(24, 2), "24 bits, expected binary codes of 16"),
        (binary(16), real("l2", 2), "RealCodes"),
        (quantized("product", "dot"), binary(16, 2), "real vectors of 18"),
        (real("l2"), real("l2", 2, width=5), "real vectors of 12"),
    ],
)
def test_queries_that_cannot_be_compared_are_refused(codes, queries, said, tmp_path):
    index = build_index(tmp_path / "index", items_of(codes))
    with pytest.raises(InputError, match=said):
        index.search(queries, 3)


def test_structures_that_do_not_suit_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected exact"):
        build_index(tmp_path / "index", items_of(quantized("product", "dot")), "hnsw")
    with pytest.raises(InputError, match="expected flat or ivf or hnsw"):
        build_index(tmp_path / "index", items_of(binary(16)), "tree")
    with pytest.raises(InputError, match="--lists: 999"):
        build_index(tmp_path / "index", items_of(binary(16)), "ivf", lists=999)
    assert not (tmp_path / "index").exists()


def test_an_index_that_changes_while_it_is_opened_is_opened_anew(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    build_index(folder, items_of(binary(16)))
    real, changed = index_folder.verify, []

    def verify(place, about):
        if not changed:
            changed.append(True)
            add_items(place, items_of(binary(16, 5), "m"))
        real(place, about)

    monkeypatch.setattr(index_folder, "verify", verify)
    assert len(open_index(folder).items) == N + 5
