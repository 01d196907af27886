"""From a run to what was found: the commands as a user types them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fghash import api
from fghash.search.index_folder import open_index
from fghash.store import RunFolder
from small_runs import small_run


@pytest.fixture(scope="module")
def indexes(runs, tmp_path_factory):
    """An index of each run, by method; that of itq with vectors of its own."""
    from fghash.cli import main

    folder = tmp_path_factory.mktemp("indexes")
    for name, run in runs.items():
        more = ["--vectors"] if name == "itq" else []
        assert main(["index", str(run), "--out", str(folder / name), *more]) == 0
    return folder


def expected(run, top, name):
    """Distances of a stored query to its nearest items, by the evaluator's scan."""
    from fghash.evaluation.neighbours import nearest

    folder = RunFolder(run)
    bits, kind = folder.coded()[-1]
    queries, gallery = (folder.read_codes(bits, kind, part)[0] for part in ("queries", "gallery"))
    position = [each.rpartition("/")[2] for each in folder.read_items("queries")].index(name)
    return nearest(queries.take([position]), gallery, top)[1][0]


@pytest.mark.parametrize("method", ["itq", "pq", "rq", "frozen"])
def test_an_image_finds_what_its_stored_code_finds(runs, indexes, images, command, tmp_path, method):
    query = sorted(images.rglob("*.png"))[5]
    status, out, _ = command("search", indexes / method, query, "--top", 7, "--json", tmp_path / "found.json")
    assert status == 0
    assert query.parent.name in out
    found = json.loads((tmp_path / "found.json").read_text())["queries"][0]
    gaps = [each["distance"] for each in found["found"]]
    assert np.allclose(gaps, expected(runs[method], 7, query.stem), rtol=1e-5, atol=1e-5)
    assert found["class"] == query.parent.name
    assert all(each["class"] in api.load_run(runs[method]).class_names for each in found["found"])


def test_reranking_orders_by_the_real_vectors(runs, indexes, images, command, tmp_path):
    words = ("--top", 5, "--rerank", 60, "--json", tmp_path / "found.json")
    assert command("search", indexes / "itq", images, *words)[0] == 0
    for each in json.loads((tmp_path / "found.json").read_text())["queries"]:
        gaps = [hit["distance"] for hit in each["found"]]
        assert gaps == sorted(gaps)
        assert all(-1.0001 <= gap <= 1 for gap in gaps)  # minus a cosine


def test_vectors_of_another_run_rank_again(runs, images, command, tmp_path):
    command("index", runs["itq"], "--out", tmp_path / "index", "--vectors", runs["frozen"])
    assert open_index(tmp_path / "index").manifest.vectors["encoder"] == api.load_run(runs["frozen"]).encoder
    status, out, err = command("search", tmp_path / "index", images, "--rerank", 50, "--top", 3)
    assert status == 0, err
    assert "-0." in out


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_a_contact_sheet_shows_queries_items_and_distances(indexes, images, command, tmp_path, suffix):
    sheet = tmp_path / f"sheet.{suffix}"
    status, out, _ = command("search", indexes / "itq", images, "--top", 4, "--show", sheet)
    assert status == 0
    assert "items found have the class of their query" in out
    if suffix == "png":
        assert Image.open(sheet).size[0] > 4 * 100
    else:
        text = sheet.read_text()
        assert text.count("<figure>") == 24 * 5
        assert "image is gone" not in text
        assert "http" not in text.partition("<body>")[2]


def test_codes_of_a_file_are_queries(runs, indexes, images, command, refused, tmp_path):
    command("encode", runs["itq"], images, "--out", tmp_path / "q.npz")
    assert command("search", indexes / "itq", tmp_path / "q.npz", "--top", 3)[0] == 0
    assert "other weights" in refused("search", indexes / "rq", tmp_path / "q.npz")


def test_items_that_were_encoded_are_indexed_and_their_images_shown(runs, images, command, tmp_path):
    command("encode", runs["itq"], images, "--out", tmp_path / "c.npz", "--vectors")
    assert command("index", tmp_path / "c.npz", "--out", tmp_path / "index", "--structure", "hnsw")[0] == 0
    query = sorted(images.rglob("*.png"))[0]
    words = ("--top", 3, "--rerank", 10, "--show", tmp_path / "s.html")
    assert command("search", tmp_path / "index", query, *words)[0] == 0
    assert "image is gone" not in (tmp_path / "s.html").read_text()
    status, out, _ = command("search", tmp_path / "index", query, "--top", 1)
    assert status == 0
    assert str(query) in out.splitlines()[1]  # an image finds itself


def test_images_of_added_items_are_shown_wherever_they_lie(runs, images, command, tmp_path, monkeypatch):
    import tarfile

    from fghash.search.item_images import reader

    paths = sorted(images.rglob("*.png"))
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(paths[0], arcname="x/first.png")
    shutil.copytree(paths[1].parent, tmp_path / "photos")
    (tmp_path / "l.csv").write_text(f"path,id\nphotos/{paths[1].name},mine\n")
    monkeypatch.chdir(tmp_path)
    command("index", runs["itq"], "--out", "index")
    command("encode", runs["itq"], "s.tar", "l.csv", "--id_column", "id", "--out", "c.npz")
    assert command("index", "index", "--add", "c.npz")[0] == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    read = reader(open_index(tmp_path / "index"))
    assert read("s.tar/x/first.png").shape == read("mine").shape == (160, 160, 3)
    assert read("nothing") is None
    assert read(RunFolder(runs["itq"]).read_items("gallery")[0]) is not None


def test_nested_codes_are_indexed_at_any_length(runs, images, command, tmp_path, refused):
    run = small_run(tmp_path / "runs", "dpq", 16)
    assert command("index", run, "--out", tmp_path / "index", "--bits", 8)[0] == 0
    assert open_index(tmp_path / "index").manifest.bits == 8
    assert command("search", tmp_path / "index", images, "--top", 3)[0] == 0
    assert "--bits: 12" in refused("index", run, "--out", tmp_path / "other", "--bits", 12)


def test_add_remove_and_show(runs, images, command, refused, tmp_path):
    index = tmp_path / "index"
    command("index", runs["itq"], "--out", index)
    command("encode", runs["itq"], images, "--out", tmp_path / "c.npz")
    assert "144 items" in command("index", index, "--add", tmp_path / "c.npz")[1]
    paths = sorted(map(str, images.rglob("*.png")))
    (tmp_path / "ids.txt").write_text("\n".join(paths[2:]) + "\n")
    assert "120 items" in command("index", index, "--remove", *paths[:2], f"@{tmp_path / 'ids.txt'}")[1]
    assert "flat, 16 bits" in command("index", index)[1]
    assert "is not an index" in refused("index", tmp_path)
    assert "expected --out" in refused("index", index, "--structure", "hnsw")
    assert "beside --out" in refused("index", index, "--out", "x", "--add", tmp_path / "c.npz")


def test_an_index_of_other_weights_than_the_encoder_is_refused(runs, indexes, images, refused):
    said = refused("search", indexes / "itq", images, "--run", runs["pq"])
    assert "has other weights" in said


def test_a_run_that_has_moved_is_named(runs, images, command, refused, tmp_path):
    shutil.copytree(runs["itq"], tmp_path / "runs" / runs["itq"].name)
    command("index", tmp_path / "runs", "--out", tmp_path / "index")
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert "--run" in refused("search", tmp_path / "index", images)
    assert command("search", tmp_path / "index", images, "--run", tmp_path / "elsewhere")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "{images}"], "is not an index"),
        (["{itq}", "nothing.png"], "there is no"),
        (["{itq}", "{images}", "--rerank", "5"], "--rerank: 5, expected 10"),
        (["{rq}", "{images}", "--rerank", "50"], "has no real vectors"),
        (["{itq}", "{images}", "--show", "a.pdf"], ".html or .png"),
        (["{itq}", "{images}", "--top", "0"], "--top"),
        (["{itq}", "nothing.npz"], "there is no 'nothing.npz'"),
    ],
)
def test_refusals(indexes, images, refused, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    places = {"images": images, **{name: indexes / name for name in ("itq", "rq")}}
    assert said in refused("search", *(word.format(**places) for word in words))


def test_an_unfinished_run_is_not_indexed(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("method: hashnet\n")
    assert "not the folder of a finished run" in refused(
        "index", tmp_path / "run", "--out", tmp_path / "index"
    )


def test_the_page_asks_what_the_command_asks(indexes, images, command):
    pytest.importorskip("gradio")
    from fghash.search.web_page import Searcher, examples_of, page

    searcher = Searcher.of(open_index(indexes / "itq"))
    path = sorted(images.rglob("*.png"))[0]
    html = searcher.find(np.asarray(Image.open(path)), path.parent.name, 16, 5, False)
    assert html.count("<figure>") == 5
    assert "image is gone" not in html
    assert searcher.find(np.asarray(Image.open(path)), "", 8, 5, True).count("<figure>") == 5
    assert searcher.lengths == [16, 12, 8, 4]
    assert len(examples_of(searcher)) == 12
    page([searcher, searcher], examples_of(searcher))
