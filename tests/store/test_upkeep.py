"""``fghash runs``: what a store's runs take, whether their files are whole, what can go."""

import json
import os
import time

import pytest

from fghash import api
from fghash.cli import main
from fghash.store.upkeep import CHECKSUMS, finished_checkpoints, leftovers, problems, run_states

SMALL = {"families": 2, "classes_per_family": 2, "train_images": 6, "query_images": 2, "image_size": 32}


@pytest.fixture
def runs(tmp_path):
    """A finished run and an unfinished one."""
    store = tmp_path / "runs"
    made = api.fit(
        method="hashnet", data={"name": "synthetic", **SMALL}, bits=8, batch_size=8, gpus=0, runs=str(store),
        trainer={"max_epochs": 1},
    )  # fmt: skip
    (made.folder / "checkpoints").mkdir(exist_ok=True)
    (made.folder / "checkpoints" / "last.ckpt").write_bytes(b"y" * 10)
    killed = store / "synthetic" / "hashnet" / "16" / "0123456789abcdef"
    (killed / "checkpoints").mkdir(parents=True)
    (killed / "checkpoints" / "last.ckpt").write_bytes(b"x" * 100)
    return store


def finished_run(runs):
    return next(each.folder for each in run_states(runs) if each.state == "finished")


def test_states_and_sizes(runs):
    first, second = run_states(runs)
    assert (second.state, first.state) == ("finished", "unfinished")
    assert first.checkpoint_bytes == 100
    assert first.map is None
    assert 0 < second.map <= 1
    assert second.n_bytes == sum(p.stat().st_size for p in second.folder.rglob("*") if p.is_file())
    (first.folder / "lock").write_text("process 1 on here")
    assert run_states(runs)[0].state == "running"


def test_a_run_is_what_was_written_until_somebody_changes_it(runs, capsys):
    folder = finished_run(runs)
    assert main(["runs", "verify", str(runs)]) == 0
    assert "1 finished runs" in capsys.readouterr().out
    codes = folder / "codes" / "8-network" / "gallery.npz"
    whole = codes.read_bytes()
    codes.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (folder / "items" / "queries.json").unlink()
    assert len(problems(folder)) == 2
    assert main(["runs", "verify", str(runs)]) == 2
    shown = capsys.readouterr().out
    assert "gallery.npz' is not what was written" in shown
    assert "queries.json' is missing" in shown


def test_names_of_a_strangers_checksums_stay_below_the_run(runs, tmp_path):
    folder = finished_run(runs)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / CHECKSUMS).write_text(json.dumps({"../../../../../secret": "0", str(secret): "0"}))
    assert problems(folder) == []
    for text in ("[1]", "{", '{"a": 1}'):
        (folder / CHECKSUMS).write_text(text)
        assert len(problems(folder)) == 1


def test_prune_tells_first_and_deletes_only_what_is_finished(runs, capsys):
    folder = finished_run(runs)
    assert [path.name for path, _ in finished_checkpoints(runs)] == ["last.ckpt"]
    assert main(["runs", "prune", str(runs)]) == 0
    assert "would delete" in capsys.readouterr().out
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert main(["runs", "prune", str(runs), "--yes"]) == 0
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    assert len(list(runs.rglob("last.ckpt"))) == 1
    assert api.load_run(folder).method.bits == 8
    assert main(["runs", "prune", str(runs)]) == 0
    assert "nothing to delete" in capsys.readouterr().out


def test_checkpoints_of_a_run_that_time_cut_stay(runs):
    folder = finished_run(runs)
    (record,) = (folder / "records").glob("*.json")
    record.write_text(record.read_text().replace('"stopped_by_time": false', '"stopped_by_time": true'))
    assert not list(finished_checkpoints(runs))


def test_gc_finds_old_temporaries_and_backbones_without_a_run(runs, capsys):
    folder = finished_run(runs)
    young, old = folder / ".codes.1.abcd.tmp.npz", folder / ".codes.2.abcd.tmp.npz"
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    (runs / ".backbones").mkdir(exist_ok=True)
    (runs / ".backbones" / "abc.safetensors").write_bytes(b"left over")
    assert {path.name for path, _ in leftovers(runs)} == {old.name, "abc.safetensors"}
    assert main(["runs", "gc", str(runs), "--yes"]) == 0
    assert young.is_file()
    assert not old.exists()
    assert "deleted" in capsys.readouterr().out


def test_a_linked_or_copied_backbone_is_kept(tmp_path):
    store = tmp_path / "runs"
    result = api.fit(method="itq", data={"name": "synthetic", **SMALL}, bits=8, gpus=0, runs=str(store))
    assert not list(leftovers(store))
    (shared,) = (store / ".backbones").glob("*.safetensors")
    own = result.folder / "backbone.safetensors"
    content = own.read_bytes()
    own.unlink()
    own.write_bytes(content)
    assert shared.stat().st_nlink == 1
    assert not list(leftovers(store))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lists"], "runs: unknown action 'lists' (known: list, verify, prune, gc), did you mean 'list'?"),
        (["list", "nowhere"], "runs: no such folder 'nowhere'"),
        (["gc", "nowhere"], "runs: no such folder 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys):
    assert main(["runs", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_list_is_a_line_a_run_and_a_total(runs, capsys):
    assert main(["runs", "list", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("2 runs, ")
