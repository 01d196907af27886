"""``fghash encode``: the run's codes, whatever is interrupted, unreadable or damaged."""

import json
import shutil

import numpy as np
import pytest

from fghash import api
from fghash.errors import InputError
from fghash.search import block_encoding
from fghash.search.block_encoding import EncodingOptions
from fghash.search.bulk_encoding import encode_files
from fghash.search.coded_items import load_items
from fghash.search.image_lists import list_images
from fghash.store import RunFolder


def stored(run, part="queries"):
    bits, kind = RunFolder(run).coded()[-1]
    return RunFolder(run).read_codes(bits, kind, part)[0]


@pytest.mark.parametrize("method", ["itq", "pq", "frozen"])
def test_the_codes_are_those_that_the_run_stores(runs, images, command, tmp_path, method):
    out = tmp_path / "codes.npz"
    words = ["--queries"] if method == "pq" else []
    status, said, _ = command("encode", runs[method], images, "--out", out, *words)
    assert status == 0
    assert "24 items" in said
    items = load_items(out)
    names = [name.rpartition("/")[2] for name in RunFolder(runs[method]).read_items("queries")]
    order = [names.index(path.rpartition("/")[2].removesuffix(".png")) for path in items.ids.tolist()]
    for key, value in vars(stored(runs[method]).take(order)).items():
        assert np.array_equal(getattr(items.codes, key), value)
    assert items.facts["encoder"] == api.load_run(runs[method]).encoder
    assert not out.with_name("codes.npz.parts").exists()


def test_a_folder_above_one_run_stands_for_it(runs, images, command, tmp_path):
    assert command("encode", runs["itq"].parent, images, "--out", tmp_path / "c.npz")[0] == 0


def test_several_runs_below_a_folder_are_told(runs, images, refused, tmp_path):
    said = refused("encode", runs["itq"].parents[2], images, "--out", tmp_path / "c.npz")
    assert "4 runs below" in said


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(block_encoding, "_BLOCK", 5)


def options(**given):
    return EncodingOptions(batch_size=5, threads=1, **given)


def test_what_was_encoded_is_not_encoded_again(runs, images, tmp_path, monkeypatch, small_blocks):
    run, sources = api.load_run(runs["itq"]), list_images([str(images)])
    whole = encode_files(run, sources, tmp_path / "whole.npz", options())
    assert (whole.items, whole.before) == (24, 0)
    seen, real = [], block_encoding._save_part

    def dies(path, *arrays):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(path.name)
        real(path, *arrays)

    monkeypatch.setattr(block_encoding, "_save_part", dies)
    with pytest.raises(KeyboardInterrupt):
        encode_files(run, sources, tmp_path / "codes.npz", options())
    assert not (tmp_path / "codes.npz").exists()
    monkeypatch.setattr(block_encoding, "_save_part", real)
    told = []
    again = encode_files(run, sources, tmp_path / "codes.npz", options(), told.append)
    assert (again.items, again.before) == (24, 15)
    assert sum(told) == 24
    first, second = load_items(tmp_path / "whole.npz"), load_items(tmp_path / "codes.npz")
    assert np.array_equal(first.codes.bits, second.codes.bits)
    assert first.ids.tolist() == second.ids.tolist()


def test_parts_of_another_encoding_are_refused_and_kept(runs, images, tmp_path, small_blocks):
    run, sources = api.load_run(runs["itq"]), list_images([str(images)])
    parts = tmp_path / "codes.npz.parts"
    parts.mkdir()
    (parts / "manifest.json").write_text('{"encoding": "another"}')
    with pytest.raises(InputError, match="parts of another encoding"):
        encode_files(run, sources, tmp_path / "codes.npz", options())
    assert parts.is_dir()


def test_the_same_command_again_does_nothing_and_another_is_refused(runs, images, command, refused, tmp_path):
    out = tmp_path / "codes.npz"
    command("encode", runs["itq"], images, "--out", out)
    before = out.stat().st_mtime_ns
    status, said, _ = command("encode", runs["itq"], images, "--out", out)
    assert status == 0
    assert "encoded before" in said
    assert out.stat().st_mtime_ns == before
    assert "--force replaces it" in refused("encode", runs["pq"], images, "--out", out)
    assert command("encode", runs["pq"], images, "--out", out, "--force")[0] == 0


@pytest.fixture
def damaged(images, tmp_path):
    """Images of which two are none, and a list that names one that is not there."""
    folder = tmp_path / "damaged"
    shutil.copytree(images, folder)
    paths = sorted(folder.rglob("*.png"))
    paths[3].write_bytes(b"no image")
    paths[7].write_bytes(paths[7].read_bytes()[:60])
    listed = folder / "list.txt"
    listed.write_text("".join(f"{path.relative_to(folder)}\n" for path in paths) + "gone.png\n")
    return listed


def test_an_unreadable_image_is_one_line(runs, damaged, refused, tmp_path):
    assert "gone.png" in refused("encode", runs["itq"], damaged, "--out", tmp_path / "c.npz")
    said = refused("encode", runs["itq"], damaged.parent, "--out", tmp_path / "c.npz")
    assert "cannot read image" in said
    assert "--skip_unreadable" in said


def test_unreadable_images_are_left_out_and_listed(runs, damaged, command, tmp_path):
    out = tmp_path / "c.npz"
    status, said, err = command("encode", runs["itq"], damaged, "--out", out, "--skip_unreadable")
    assert status == 0
    assert "22 items" in said
    assert "3 images left out" in err
    assert len((tmp_path / "c.npz.skipped.txt").read_text().splitlines()) == 3
    assert len(load_items(out)) == 22


def test_nothing_readable_is_refused(runs, tmp_path, refused):
    (tmp_path / "a.png").write_bytes(b"")
    words = ("--out", tmp_path / "c.npz", "--skip_unreadable")
    assert "none of 1 can be read" in refused("encode", runs["itq"], tmp_path / "a.png", *words)


@pytest.mark.xdist_group("processes")
def test_two_processes_give_the_codes_of_one(runs, images, command, tmp_path, monkeypatch):
    command("encode", runs["itq"], images, "--out", tmp_path / "one.npz", "--batch_size", 5)
    monkeypatch.setattr(block_encoding, "_BLOCK", 5)
    status, _, err = command(
        "encode", runs["itq"], images, "--out", tmp_path / "two.npz", "--cpus", 2, "--batch_size", 5
    )
    assert status == 0, err
    assert np.array_equal(
        load_items(tmp_path / "one.npz").codes.bits, load_items(tmp_path / "two.npz").codes.bits
    )


@pytest.mark.xdist_group("processes")
def test_an_error_of_one_process_ends_all_in_one_line(runs, damaged, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(block_encoding, "_BLOCK", 5)
    said = refused(
        "encode", runs["itq"], damaged.parent, "--out", tmp_path / "c.npz", "--cpus", 2, "--batch_size", 5
    )
    assert "cannot read image" in said


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    runs, images, command, refused, tmp_path, monkeypatch
):
    out = tmp_path / "c.npz"
    real, count = block_encoding.save_arrays, [0]

    def full(path, arrays, **options):
        count[0] += 1
        if count[0] > 2:
            raise OSError(28, "No space left on device")
        real(path, arrays, **options)

    monkeypatch.setattr(block_encoding, "_BLOCK", 5)
    monkeypatch.setattr(block_encoding, "save_arrays", full)
    words = ("encode", runs["itq"], images, "--out", out, "--batch_size", 5)
    assert "No space left on device" in refused(*words)
    assert not out.exists()
    monkeypatch.setattr(block_encoding, "save_arrays", real)
    status, said, _ = command(*words)
    assert status == 0
    assert "10 of them by an earlier call" in said


def test_labels_and_ids_come_from_columns(runs, images, command, tmp_path):
    paths = sorted(images.rglob("*.png"))[:8]
    rows = [f"{path},{path.parent.name},item{i}" for i, path in enumerate(paths)]
    (tmp_path / "l.csv").write_text("path,class,sku\n" + "\n".join(rows) + "\n")
    words = ("--label_column", "class", "--id_column", "sku", "--out", tmp_path / "c.npz")
    assert command("encode", runs["itq"], tmp_path / "l.csv", *words)[0] == 0
    items = load_items(tmp_path / "c.npz")
    names = items.facts["class_names"]
    assert items.ids.tolist() == [f"item{i}" for i in range(8)]
    assert [names[label] for label in items.labels] == [path.parent.name for path in paths]
    assert json.loads(json.dumps(items.facts))["paths"]["item0"] == str(paths[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "c.txt"], "expected a name that ends in .npz"),
        (["--out", "nowhere/c.npz"], "there is no folder"),
        (["--out", "c.npz", "--gpus", "99"], "99"),
        (["--out", "c.npz", "--column", "zzz"], None),
    ],
)
def test_refusals(runs, images, refused, command, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    if said is None:  # a column means nothing where there is no list
        assert command("encode", runs["itq"], images, *words)[0] == 0
    else:
        assert said in refused("encode", runs["itq"], images, *words)


def test_a_run_that_is_not_finished_is_refused(images, refused, tmp_path):
    (tmp_path / "run").mkdir()
    assert "not the folder of a finished run" in refused(
        "encode", tmp_path / "run", images, "--out", tmp_path / "c.npz"
    )
    (tmp_path / "run" / "config.yaml").write_text("method: hashnet\n")
    assert "run:" in refused("encode", tmp_path / "run", images, "--out", tmp_path / "c.npz")


def test_images_of_any_kind_are_read_from_a_shard_as_from_files(runs, images, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for path in sorted(images.rglob("*.png")):
            tar.add(path, arcname=f"{path.parent.name}/{path.name}")
    run = api.load_run(runs["itq"])
    files, members = list_images([str(images)]), list_images([str(tmp_path / "s.tar")])
    first = encode_files(run, files, tmp_path / "a.npz", options())
    second = encode_files(run, members, tmp_path / "b.npz", options())
    assert first.items == second.items
    assert np.array_equal(
        load_items(tmp_path / "a.npz").codes.bits, load_items(tmp_path / "b.npz").codes.bits
    )


@pytest.mark.parametrize("way", ["_in_turns", "_ahead"])
def test_images_come_in_order_however_they_are_decoded(runs, damaged, way):
    """``_ahead`` is the way of a GPU."""
    from concurrent.futures import ThreadPoolExecutor

    run, sources = api.load_run(runs["itq"]), list_images([str(damaged)], tolerate_missing=True)
    expected = [block_encoding._read(run, source) for source in sources]
    with ThreadPoolExecutor(3) as pool:
        settings = EncodingOptions(batch_size=4)
        found = list(getattr(block_encoding, way)(run, sources, pool, settings))
    assert len(found) == len(expected) == 25
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, InputError):
            assert str(ours) == str(theirs)
        else:
            assert np.array_equal(ours, theirs)
