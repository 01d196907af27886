"""``fghash features`` and ``fghash data check --features``."""

import pytest
import torch

from fghash.cli import main
from fghash.cli.features_command import _fill, _job
from fghash.data.frozen.units import Construction
from fghash.settings.resolve import configure
from image_folder import write_images


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", train=30)


def words(images, tmp_path, *more):
    return [
        "features", "--data", "folder", "--data.root", str(images), "--data.image_size", "32",
        "--data.features", str(tmp_path / "cache"), "--data.num_workers", "0", "--gpus", "0", *more,
    ]  # fmt: skip


def check(images, tmp_path):
    return ["data", "check", "folder", "--root", str(images), "--features", str(tmp_path / "cache"),
            "--data.image_size", "32"]  # fmt: skip


def test_it_builds_what_a_run_then_reads(images, tmp_path, capsys):
    assert main(words(images, tmp_path, "--kinds", "pooled,3")) == 0
    printed = capsys.readouterr().out
    assert "features: computing" in printed
    assert "99 images" in printed
    assert main(words(images, tmp_path, "--kinds", "pooled,3")) == 0
    assert "computing" not in capsys.readouterr().out
    fit = ["fit", "--method", "classify", "--data", "folder", "--data.root", str(images), "--gpus", "0"]
    fit += ["--data.image_size", "32", "--data.features", str(tmp_path / "cache"), "--backbone.freeze", "all"]
    assert main([*fit, "--trainer.max_epochs", "1", "--runs", str(tmp_path / "runs")]) == 0
    assert "computing" not in capsys.readouterr().out


def test_a_helper_fills_its_part_and_the_first_process_the_rest(images, tmp_path, capsys):
    sources = [
        {"method": "hashnet", "gpus": 0, "backbone": {"freeze": "all"}},
        {"data": {"name": "folder", "root": str(images), "image_size": 32, "num_workers": 0,
                  "features": str(tmp_path / "cache")}},
    ]  # fmt: skip
    job = _job(configure(sources), (True, ()), "cpu", 0)
    place = tmp_path / "cache" / job.name
    place.mkdir(parents=True)
    built = {unit: Construction(place / unit.name, job.shape(unit)) for unit in job.units()}
    for each in built.values():
        each.begin()
    train = next(each for unit, each in built.items() if unit.split == "train")
    _fill(sources, (True, ()), "cpu", place, torch.get_num_threads(), list(built), (1, 2))
    assert train.done().tolist() == [False, True]
    assert main(words(images, tmp_path)) == 0
    assert main(check(images, tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("current")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--kinds", "5"), "--kinds: '5', expected pooled, 1, 2, 3 or 4"),
        (("--processes", "0"), "--processes: expected a whole number"),
        (("--data.features", "ram"), "--data.features: ram, expected the folder"),
        (("--backbone.freeze", "2"), "--backbone.freeze: 2, expected all"),
        (("--data.root", "nowhere"), "--data.root: no such folder"),
    ],
)
def test_bad_input_is_one_line(more, message, images, tmp_path, capsys):
    assert main(words(images, tmp_path, *more)) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_what_is_stale_or_damaged_is_told(images, tmp_path, capsys):
    assert main(words(images, tmp_path)) == 0
    assert main(check(images, tmp_path)) == 0
    assert "current" in capsys.readouterr().out
    rows = next((tmp_path / "cache").glob("*/train-*/rows"))
    content = bytearray(rows.read_bytes())
    rows.write_bytes(bytes([content[0] ^ 1]) + bytes(content[1:]))
    assert main(check(images, tmp_path)) == 2
    assert "damaged" in capsys.readouterr().out
    rows.write_bytes(content)
    image = next((images / "train").rglob("*.png"))
    image.write_bytes(image.read_bytes() + b"more")
    assert main(check(images, tmp_path)) == 2
    assert "stale" in (told := capsys.readouterr().out)
    assert "image files changed" in told
    image.unlink()
    assert main(check(images, tmp_path)) == 2
    assert "the lists changed" in capsys.readouterr().out
    other = write_images(tmp_path / "others", train=4)
    assert main(check(other, tmp_path)) == 0
    assert "other data" in capsys.readouterr().out


def test_a_folder_without_caches_and_none_at_all(images, tmp_path, capsys):
    (tmp_path / "cache").mkdir()
    assert main(check(images, tmp_path)) == 0
    assert "no feature caches" in capsys.readouterr().out
    (tmp_path / "cache").rmdir()
    assert main(check(images, tmp_path)) == 2
    assert "--features: no such folder" in capsys.readouterr().err
