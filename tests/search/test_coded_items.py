"""Files of codes: what is written is what is read, in every format."""

import json

import numpy as np
import pytest

from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes, save_codes
from fghash.errors import InputError
from fghash.search.coded_items import CodedItems, load_items, save_items

FORMATS = ["npz", pytest.param("parquet"), pytest.param("lance")]


def codes_of(kind, n=7):
    random = np.random.default_rng(3)
    if kind.startswith("binary"):
        return BinaryCodes(random.random((n, int(kind[6:]))) < 0.5)
    if kind == "real":
        return RealCodes(random.standard_normal((n, 5)), "l2")
    words = 300 if kind == "wide" else 16
    books = random.standard_normal((3, words, 4)).astype(np.float32)
    return QuantizedCodes(
        random.integers(0, words, (n, 3)), books, "additive" if kind == "wide" else "product", "l2"
    )


def items_of(kind, **more):
    codes = codes_of(kind)
    ids = np.array([f"a/ü {i}\n.jpg" for i in range(len(codes))])
    return CodedItems(codes, ids, facts={"method": "x", "class_names": ["p", "q"]}, **more)


def require(suffix):
    if suffix != "npz":
        pytest.importorskip("pyarrow")
    if suffix == "lance":
        pytest.importorskip("lance")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["binary12", "binary64", "quantized", "wide", "real"])
def test_what_is_written_is_read(tmp_path, suffix, kind):
    require(suffix)
    vectors = RealCodes(np.random.default_rng(0).standard_normal((7, 3)), "cosine")
    items = items_of(kind, labels=np.array([0, 1, 1, 0, -1, 0, 1]), vectors=vectors)
    save_items(tmp_path / f"c.{suffix}", items)
    found = load_items(tmp_path / f"c.{suffix}")
    assert found.ids.tolist() == items.ids.tolist()
    assert np.array_equal(found.labels, items.labels)
    assert np.array_equal(found.vectors.vectors, items.vectors.vectors)
    assert found.facts == items.facts
    for key, value in vars(items.codes).items():
        assert np.array_equal(getattr(found.codes, key), value), key


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_labels_an_item(tmp_path, suffix):
    require(suffix)
    labels = np.random.default_rng(1).random((7, 4)) < 0.4
    save_items(tmp_path / f"c.{suffix}", items_of("binary16", labels=labels))
    assert np.array_equal(load_items(tmp_path / f"c.{suffix}").labels, labels)


def test_the_bits_of_a_table_lie_as_it_says(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    codes = BinaryCodes.from_values([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]])
    save_items(tmp_path / "c.parquet", CodedItems(codes, np.array(["one"])))
    table = parquet.read_table(tmp_path / "c.parquet")
    assert table["code"][0].as_py() == bytes([1, 2])  # bit 0, and bit 1 of the second byte
    about = json.loads(table.schema.metadata[b"fghash"])
    assert about["bits"] == 12
    assert about["bit_order"].startswith("little")


def test_a_file_of_any_code_base_is_read_and_ids_are_positions(tmp_path):
    save_codes(tmp_path / "c.npz", codes_of("binary8"), np.arange(7))
    items = load_items(tmp_path / "c.npz")
    assert items.ids.tolist() == [str(i) for i in range(7)]
    assert items.labels.tolist() == list(range(7))


def test_ids_that_are_there_twice_and_numbers_that_differ_are_refused():
    with pytest.raises(InputError, match="'a' 2 times"):
        CodedItems(codes_of("binary8", 2), np.array(["a", "a"]))
    with pytest.raises(InputError, match="ids: 1 for 2 codes"):
        CodedItems(codes_of("binary8", 2), np.array(["a"]))


@pytest.mark.parametrize("suffix", FORMATS)
def test_damage_is_one_line(tmp_path, suffix):
    require(suffix)
    path = tmp_path / f"c.{suffix}"
    save_items(path, items_of("binary16"))
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[:20])
    else:
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=path.name):
        load_items(path)


def test_a_table_of_somebody_else_is_refused(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match="not written by fghash"):
        load_items(tmp_path / "c.parquet")
