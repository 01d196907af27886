from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, load_codes, save_codes
from fghash.errors import InputError

BITS = np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)
BOOKS = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
ALL_KINDS = [
    BinaryCodes(BITS),
    QuantizedCodes(np.array([[0, 2], [1, 1]]), BOOKS, "additive", "l2"),
    RealCodes(np.array([[1.5, -2.0], [0.0, 3.0]]), "dot"),
]


@pytest.mark.parametrize("codes", ALL_KINDS, ids=lambda codes: type(codes).__name__)
@pytest.mark.parametrize(
    "labels", [np.array([-5, 7]), np.array([[1, 0, 1], [0, 0, 0]])], ids=["single", "multi"]
)
def test_what_is_saved_is_loaded(tmp_path: Path, codes, labels: np.ndarray) -> None:
    save_codes(tmp_path / "codes.npz", codes, labels)
    again, labels_again = load_codes(tmp_path / "codes.npz")
    assert type(again) is type(codes)
    for name in codes.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(codes, name)), name
    assert np.array_equal(labels_again, labels)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_the_file_format_is_the_documented_one(tmp_path: Path) -> None:
    save_codes(tmp_path / "b.npz", ALL_KINDS[0], [3, 4])
    with np.load(tmp_path / "b.npz") as file:
        assert {key: file[key].tolist() for key in file.files} == {
            "codes_packed": [[0b101], [0b100]],
            "bits": 3,
            "labels": [3, 4],
        }
    save_codes(tmp_path / "q.npz", ALL_KINDS[1], [3, 4])
    with np.load(tmp_path / "q.npz") as file:
        assert set(file.files) == {"indices", "codebooks", "structure", "similarity", "labels"}
        assert (str(file["structure"]), str(file["similarity"])) == ("additive", "l2")
    save_codes(tmp_path / "r.npz", ALL_KINDS[2], [3, 4])
    with np.load(tmp_path / "r.npz") as file:
        assert set(file.files) == {"embeddings", "similarity", "labels"}


@pytest.mark.parametrize("dtype", ["bool", "int8", ">i8", "<f4", ">f8"])
def test_codes_of_other_code_bases_are_read(tmp_path: Path, dtype: str) -> None:
    np.savez(tmp_path / "c.npz", codes=np.asfortranarray(BITS.astype(dtype)), labels=np.array([1.0, 2.0]))
    codes, labels = load_codes(tmp_path / "c.npz")
    assert np.array_equal(codes.bits, BITS)
    assert labels.tolist() == [1, 2]
    assert labels.dtype == np.int64


def test_signs_and_missing_similarity_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", codes=np.where(BITS, 1, -1), labels=[1, 2])
    assert np.array_equal(load_codes(tmp_path / "c.npz")[0].bits, BITS)
    np.savez(tmp_path / "e.npz", embeddings=np.ones((2, 3)), labels=[1, 2])
    assert load_codes(tmp_path / "e.npz")[0].similarity == "cosine"


CODES = BITS.astype(np.int8)
WORDS = {"codebooks": BOOKS, "structure": "product", "similarity": "dot", "labels": [1, 2]}
BAD = {
    "value": ({"codes": np.array([[0.5, 1.0]]), "labels": [1]}, "codes: value 0.5"),
    "nan": ({"codes": np.array([[np.nan, 1.0]]), "labels": [1]}, "codes: value nan"),
    "mixed": ({"codes": np.array([[0, 1], [-1, 1]]), "labels": [1, 2]}, "both 0 and -1"),
    "count": ({"codes": CODES, "labels": [1, 2, 3]}, "labels: 3 labels for 2 codes"),
    "no labels": ({"codes": CODES}, "no array 'labels' (found: codes)"),
    "no codes": ({"labels": [1, 2]}, "no codes, expected one of codes, codes_packed, indices, embeddings"),
    "two kinds": ({"codes": CODES, "embeddings": CODES, "labels": [1, 2]}, "codes and embeddings"),
    "no bits": ({"codes_packed": np.zeros((2, 1), np.uint8), "labels": [1, 2]}, "no array 'bits'"),
    "bits": ({"codes_packed": np.zeros((2, 1), np.uint8), "bits": 0.5, "labels": [1, 2]}, "bits: 0.5"),
    "width": ({"codes_packed": np.zeros((2, 1), np.uint8), "bits": 9, "labels": [1, 2]}, "item with bits=9"),
    "text": ({"codes": CODES, "labels": ["a", "b"]}, "labels: holds <U1"),
    "pickle": ({"codes": np.array([[None]]), "labels": [1]}, "holds Python objects (a pickle)"),
    "pickled labels": ({"codes": CODES, "labels": np.array([1, None])}, "holds Python objects (a pickle)"),
    "fractions": ({"codes": CODES, "labels": [1.5, 2.0]}, "labels: value 1.5"),
    "nan label": ({"codes": CODES, "labels": [np.nan, 2.0]}, "labels: value nan"),
    "not 0/1": ({"codes": CODES, "labels": [[0, 2], [1, 1]]}, "labels: value 2 in a matrix"),
    "scalar": ({"codes": CODES, "labels": 3}, "labels: shape ()"),
    "cube": ({"codes": CODES, "labels": np.zeros((2, 1, 1))}, "labels: shape (2, 1, 1)"),
    "flat codes": ({"codes": np.zeros(2), "labels": [1, 2]}, "codes: shape (2,)"),
    "complex": ({"codes": CODES.astype(complex), "labels": [1, 2]}, "codes: holds complex128"),
    "no codebooks": ({"indices": CODES, **WORDS} | {"codebooks": np.ones((2, 2))}, "codebooks: shape (2, 2)"),
    "structure": ({"indices": CODES[:, :2], **WORDS, "structure": "tree"}, "structure: 'tree', expected"),
    "similarity": ({"indices": CODES[:, :2], **WORDS, "similarity": "cos"}, "similarity: 'cos', expected"),
    "words": ({"indices": CODES, **WORDS}, "indices: 3 codewords an item, expected 2, one of each codebook"),
    "real index": ({"indices": CODES[:, :2] / 2, **WORDS}, "indices: holds float64"),
    "index": ({"indices": CODES[:, :2] + 5, **WORDS}, "indices: value 6, expected 0 to 2"),
    "missing": ({"indices": CODES[:, :2], "labels": [1, 2]}, "no array 'structure' (found: indices, labels)"),
    "inf": ({"embeddings": np.array([[np.inf]]), "labels": [1]}, "vectors: value inf"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    arrays, words = BAD[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError) as caught:
        load_codes(tmp_path / "bad.npz")
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{tmp_path / 'bad.npz'}: ")
    assert "\n" not in message


def _archive(np_header: bytes = b"", member: bytes = b"") -> bytes:
    """A zip file with one member: an array whose header is this text, or these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        length = struct.pack("<H", len(np_header) + 1)
        archive.writestr("codes.npy", member or b"\x93NUMPY\x01\x00" + length + np_header + b"\n")
    return file.getvalue()


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"codes": 1}))
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", np.ones(3))
    save_codes(tmp_path / "whole.npz", ALL_KINDS[0], [1, 2])
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "header.npz").write_bytes(_archive(np_header=b"{'descr': '<i8', 'fortran_order': False, ("))
    (tmp_path / "huge.npz").write_bytes(
        _archive(np_header=b"{'descr': '<i8', 'fortran_order': False, 'shape': (1" + 30 * b"0" + b",)}")
    )
    (tmp_path / "member.npz").write_bytes(_archive(member=b"no array"))
    encrypted = bytearray(_archive(member=b"x"))
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "encrypted.npz").write_bytes(encrypted)
    made = ("header.npz", "huge.npz", "member.npz", "encrypted.npz")
    for name in ("text.npz", "pickle.npz", "empty.npz", "array.npy", "cut.npz", "damaged.npz", *made):
        with pytest.raises(InputError, match=r"not a readable \.npz file"):
            load_codes(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        load_codes(tmp_path / "absent.npz")


def test_saving_refuses_wrong_counts_and_unwritable_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 labels for 2 codes"):
        save_codes(tmp_path / "codes.npz", ALL_KINDS[0], [1, 2, 3])
    with pytest.raises(InputError, match="expected BinaryCodes"):
        save_codes(tmp_path / "codes.npz", np.ones((2, 2)), [1, 2])
    with pytest.raises(InputError, match="cannot write"):
        save_codes(tmp_path / "absent" / "codes.npz", ALL_KINDS[0], [1, 2])
    with pytest.raises(InputError, match=r"path: '\.', expected the name of a file"):
        save_codes("", ALL_KINDS[0], [1, 2])
    assert list(tmp_path.iterdir()) == []
