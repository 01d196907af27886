from __future__ import annotations

import numpy as np
import pytest

from fghash.codes import QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation.distances import distinct_rows, prepare_distances


def codes_of(
    structure: str, similarity: str, n: int = 50, m: int = 4, k: int = 7, d: int = 5
) -> QuantizedCodes:
    random = np.random.default_rng(m)
    return QuantizedCodes(
        random.integers(k, size=(n, m)), random.standard_normal((m, k, d)), structure, similarity
    )


@pytest.mark.parametrize("structure", ["product", "additive"])
def test_decoding_takes_the_words_one_by_one(structure: str) -> None:
    codes = codes_of(structure, "dot")
    for item, vector in zip(codes.indices, codes.decode(), strict=True):
        words = [codes.codebooks[j][word] for j, word in enumerate(item)]
        expected = np.concatenate(words) if structure == "product" else sum(words)
        assert vector == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("structure", ["product", "additive"])
@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_lookup_distances_are_distances_to_the_decoded_vectors(structure: str, similarity: str) -> None:
    codes = codes_of(structure, similarity)
    queries = np.random.default_rng(0).standard_normal((6, codes.dimensions)).astype(np.float32)
    got = prepare_distances(codes)(queries)
    assert got.dtype == np.float32
    for query, row in zip(queries, got, strict=True):
        for vector, distance in zip(codes.decode(), row, strict=True):
            expected = float(-(query @ vector) if similarity == "dot" else np.square(query - vector).sum())
            assert distance == pytest.approx(expected, abs=1e-5 * max(1, abs(expected)))


@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_product_and_additive_codes_of_the_same_vectors_are_equally_far(similarity: str) -> None:
    product = codes_of("product", similarity)
    m, k, d = product.codebooks.shape
    wide = np.zeros((m, k, m * d), np.float32)
    for j in range(m):
        wide[j, :, j * d : (j + 1) * d] = product.codebooks[j]
    additive = QuantizedCodes(product.indices, wide, "additive", similarity)
    assert np.array_equal(product.decode(), additive.decode())
    queries = np.random.default_rng(1).standard_normal((9, m * d)).astype(np.float32)
    a, b = prepare_distances(product)(queries), prepare_distances(additive)(queries)
    assert a == pytest.approx(b, abs=1e-5 * float(np.abs(a).max()))
    for row, other in zip(a, b, strict=True):
        apart = row[:, None] - row > 1e-4
        assert (other[:, None] - other > 0)[apart].all()


def test_equal_codes_are_one_distinct_row() -> None:
    for codes in (
        QuantizedCodes([[0, 1], [1, 1], [0, 1], [2, 0]], np.ones((2, 3, 2))),
        QuantizedCodes([[0, 1, 0]] * 2 + [[1, 1, 0]], np.ones((3, 3, 2))),
        RealCodes([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0]]),
    ):
        first, number = distinct_rows(codes)
        rows = codes.indices if isinstance(codes, QuantizedCodes) else codes.vectors
        assert np.array_equal(rows[first][number], rows)
        assert len(first) == len(np.unique(rows, axis=0))


def test_bits_and_prefixes() -> None:
    codes = codes_of("additive", "dot")
    assert codes.bits_per_item == 4 * 3
    for m in range(1, 5):
        shorter = codes.prefix(3 * m)
        assert shorter.bits_per_item == 3 * m
        assert np.array_equal(shorter.indices, codes.indices[:, :m])
        assert np.array_equal(shorter.codebooks, codes.codebooks[:m])
    assert codes_of("product", "dot", k=256).bits_per_item == 32
    assert codes_of("product", "dot", k=1).bits_per_item == 4
    assert RealCodes(np.ones((2, 5))).bits_per_item == 160


@pytest.mark.parametrize(("k", "dtype"), [(3, "uint8"), (256, "uint8"), (257, "uint16"), (65537, "int32")])
def test_indices_take_the_smallest_type(k: int, dtype: str) -> None:
    codes = QuantizedCodes(np.array([[0], [k - 1]]), np.ones((1, k, 1)))
    assert codes.indices.dtype == dtype
    assert codes.indices.tolist() == [[0], [k - 1]]


def test_tensors_are_accepted_without_their_gradients() -> None:
    torch = pytest.importorskip("torch")
    books = torch.randn(2, 3, 4, requires_grad=True)
    codes = QuantizedCodes(torch.tensor([[0, 2], [1, 1]]), books)
    assert np.array_equal(codes.codebooks, books.detach().numpy())
    assert type(codes.codebooks) is np.ndarray
    halves = RealCodes(torch.tensor([[1.5, 2.0]], dtype=torch.bfloat16, requires_grad=True))
    assert halves.vectors.tolist() == [[1.5, 2.0]]
    assert RealCodes(np.ones((3, 2), np.float64).T).vectors.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: codes_of("product", "dot").prefix(3), "prefix: product codes are not nested"),
        (lambda: codes_of("additive", "dot").prefix(4), "bits: 4, expected a multiple of 3 up to 12"),
        (lambda: codes_of("additive", "dot").prefix(15), "bits: 15, expected a multiple of 3 up to 12"),
        (lambda: codes_of("additive", "dot").prefix(0), "bits: 0"),
        (lambda: codes_of("tree", "dot"), "structure: 'tree', expected one of product, additive"),
        (lambda: codes_of("product", "cosine"), "similarity: 'cosine', expected one of dot, l2"),
        (lambda: QuantizedCodes([[3]], np.ones((1, 3, 1))), "indices: value 3, expected 0 to 2"),
        (lambda: QuantizedCodes([[-1]], np.ones((1, 3, 1))), "indices: value -1, expected 0 to 2"),
        (lambda: QuantizedCodes([[0.5]], np.ones((1, 3, 1))), "indices: holds float64, expected integers"),
        (lambda: QuantizedCodes([[0]], np.ones((2, 3, 1))), "indices: 1 codewords an item"),
        (lambda: QuantizedCodes([0], np.ones((1, 3, 1))), "indices: shape (1,)"),
        (lambda: QuantizedCodes([[0]], np.ones((3, 1))), "codebooks: shape (3, 1)"),
        (lambda: QuantizedCodes([[0]], np.full((1, 3, 1), np.nan)), "codebooks: value nan at (0, 0, 0)"),
        (lambda: RealCodes([[1.0, np.inf]]), "vectors: value inf at (0, 1)"),
        (lambda: RealCodes([[1e300]]), "vectors: value inf"),
        (lambda: RealCodes([1.0]), "vectors: shape (1,)"),
        (lambda: RealCodes([[1.0]], "hamming"), "similarity: 'hamming'"),
        (lambda: RealCodes([[1.0]]).prefix(16), "prefix: real vectors have no nested code of 16 bits"),
    ],
)
def test_bad_values_are_named(make, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
