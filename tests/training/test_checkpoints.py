"""Checkpoints: whole or absent, and never run."""

import pytest
import torch

from fghash.errors import InputError
from fghash.training.checkpoints import SafeCheckpoints, read_checkpoint


class Bomb:
    """Runs something when it is unpickled."""

    def __reduce__(self):
        return (print, ("it ran",))


def test_what_was_written_is_read_back(tmp_path):
    io, weights = SafeCheckpoints(), torch.arange(3)
    io.save_checkpoint({"state_dict": {"x": weights}, "epoch": 2}, tmp_path / "a" / "last.ckpt")
    weights += 1  # training goes on while the copy is written
    io.wait()
    assert torch.equal(read_checkpoint(tmp_path / "a" / "last.ckpt")["state_dict"]["x"], torch.arange(3))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["last.ckpt"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    io = SafeCheckpoints()
    io.save_checkpoint({"state_dict": {}, "epoch": 1}, tmp_path / "last.ckpt")
    io.save_checkpoint({"state_dict": {}, "epoch": 2, "no": lambda: None}, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="pickle"):
        io.teardown()
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_foreign_files_are_refused_and_nothing_in_them_runs(tmp_path, capsys):
    torch.save({"state_dict": {}, "bomb": Bomb()}, tmp_path / "bomb.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.ckpt")
    for name in ("bomb.ckpt", "text.ckpt", "other.ckpt"):
        with pytest.raises(InputError, match=name):
            read_checkpoint(tmp_path / name)
    assert "it ran" not in capsys.readouterr().out


def test_the_next_checkpoint_tells_that_one_was_not_written(tmp_path):
    io = SafeCheckpoints()
    (tmp_path / "file").write_text("")
    io.save_checkpoint({"state_dict": {}}, tmp_path / "file" / "last.ckpt")
    with pytest.raises(InputError, match=r"cannot write .*file"):
        io.save_checkpoint({"state_dict": {}, "epoch": 1}, tmp_path / "last.ckpt")
    io.save_checkpoint({"state_dict": {}, "epoch": 1}, tmp_path / "last.ckpt")
    io.teardown()
    assert read_checkpoint(tmp_path / "last.ckpt")["state_dict"] == {}
