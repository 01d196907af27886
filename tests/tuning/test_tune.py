"""fghash tune: equal budgets, resumable, and no test query is read."""

import pytest
import yaml

from fghash.cli import main
from fghash.presets import read_preset, tuning_trials
from image_folder import write_images

pytest.importorskip("optuna")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def words(images, out, *more, method="classify", trials=3):
    return [
        "tune", "--method", method, "--data", "folder", "--data.root", str(images), "--data.image_size", "32",
        "--data.validation", "0.3", "--backbone.freeze", "all", "--data.features", "ram", "--gpus", "0",
        "--bits", "16", "--trials", str(trials), "--passes", "60", "--out", str(out), *more,
    ]  # fmt: skip


def small(tmp_path):
    """A space whose batches fit a handful of images."""
    file = tmp_path / "space.yaml"
    file.write_text("batch_size: {choice: [4, 6]}\ndata.sampler: null\ndata.classes_per_batch: null\n")
    return "--space", str(file)


def test_the_best_trial_becomes_a_preset_that_fit_takes(images, tmp_path, capsys):
    out = tmp_path / "tuned"
    assert main(words(images, out, *small(tmp_path))) == 0
    printed = capsys.readouterr().out
    assert [f"trial {n}/3" in printed for n in (1, 2, 3)] == [True] * 3
    preset = out / "folder-test_resnet-16" / "classify.yaml"
    text = preset.read_text()
    assert text.startswith(
        "# classify, tuned for 16 bits on folder with test_resnet:\n# the best of 3 trials"
    )
    facts = yaml.safe_load(text)["tuned"]
    assert (facts["trials"], facts["seed"], facts["validation"]) == (3, 0, 0.3)
    assert 56 <= facts["image_passes"] <= 64
    assert 0 < facts["val_map"] <= 1
    assert tuning_trials(str(preset)) == 3
    assert "tuned" not in read_preset("classify", str(preset))
    runs = tmp_path / "runs"
    fit = [
        "fit",
        "--method",
        "classify",
        "--preset",
        str(preset),
        "--data",
        "folder",
        "--data.root",
        str(images),
    ]
    fit += ["--data.image_size", "32", "--gpus", "0", "--bits", "16", "--runs", str(runs)]
    assert main([*fit, "--trainer.max_epochs", "2"]) == 0
    header, row = (runs / "leaderboard.csv").read_text().splitlines()[:2]
    cells = dict(zip(header.split(","), row.split(","), strict=False))
    assert (cells["trials"], cells["preset"]) == ("3", str(preset))


def test_the_same_command_resumes_and_more_trials_go_on(images, tmp_path, capsys):
    more = small(tmp_path)
    assert main(words(images, tmp_path / "tuned", *more, trials=2)) == 0
    first = capsys.readouterr().out
    assert "trial 2/2" in first
    assert main(words(images, tmp_path / "tuned", *more, trials=2)) == 0
    assert "trial" not in capsys.readouterr().out.split("best val/map")[0]
    assert main(words(images, tmp_path / "tuned", *more, trials=4)) == 0
    printed = capsys.readouterr().out
    assert "trial 3/4" in printed
    assert "trial 2/4" not in printed


def test_test_queries_are_never_read(images, tmp_path):
    """Files that no reader can open, in place of every query."""
    for file in (images / "query").rglob("*.png"):
        file.write_bytes(b"not an image")
    assert main(words(images, tmp_path / "tuned", *small(tmp_path))) == 0


def test_through_the_images_too(images, tmp_path):
    for file in (images / "query").rglob("*.png"):
        file.write_bytes(b"not an image")
    given = words(images, tmp_path / "tuned", *small(tmp_path), trials=1)
    place = given.index("--data.features")
    trained = ["none" if word == "all" else word for word in given[:place] + given[place + 2 :]]
    assert main(trained) == 0
    preset = read_preset("classify", str(tmp_path / "tuned" / "folder-test_resnet-16" / "classify.yaml"))
    assert preset["backbone"] == {"freeze_batchnorm": False}  # as drawn, of a backbone that is trained


def test_importances_are_a_table_and_a_plot(images, tmp_path, capsys):
    pytest.importorskip("sklearn")
    more = (*small(tmp_path), "--importance", "--prune", "false")
    assert main(words(images, tmp_path / "tuned", *more, trials=4)) == 0
    assert "optim.lr" in capsys.readouterr().out
    picture = tmp_path / "tuned" / "folder-test_resnet-16" / "classify.importance.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data.validation", "0"), "--data.validation: 0, expected a share"),
        (("--trials", "-1"), "--trials: expected a whole number"),
        (("--passes", "x"), "--passes: expected a whole number"),
        (("--space", "nowhere.yaml"), "--space: cannot read"),
        (("--backbone.freeze", "none"), "--backbone.freeze: none, expected all"),
        (("--importance", "--trials", "1"), "expected at least 4"),
    ],
)
def test_bad_input_is_one_line(more, message, images, tmp_path, capsys):
    given = [*words(images, tmp_path / "tuned", *small(tmp_path)), *more]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0


def test_a_space_of_an_unknown_setting_is_one_line(images, tmp_path, capsys):
    file = tmp_path / "odd.yaml"
    file.write_text("optim.lrr: {low: 0.1, high: 1}\n")
    assert main(words(images, tmp_path / "tuned", "--space", str(file))) == 2
    assert "unknown setting 'optim.lrr'" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(words(images, tmp_path / "file", *small(tmp_path))) == 2
    assert "--out: cannot write" in capsys.readouterr().err


def test_a_killed_trial_is_run_again_and_does_not_count(images, tmp_path, monkeypatch, capsys):
    from fghash.tuning import trials

    score, calls = trials._score, []

    def killed_once(plan, settings, trial, shared):
        calls.append(dict(settings))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(plan, settings, trial, shared)

    monkeypatch.setattr(trials, "_score", killed_once)
    given = words(images, tmp_path / "tuned", *small(tmp_path), trials=3)
    assert main(given) == 130
    assert main(given) == 0
    assert calls[2] == calls[1]
    assert len(calls) == 4
    facts = yaml.safe_load((tmp_path / "tuned" / "folder-test_resnet-16" / "classify.yaml").read_text())[
        "tuned"
    ]
    assert (facts["trials"], facts["failed"]) == (3, 0)


def test_a_study_in_use_is_one_line(images, tmp_path, capsys):
    from filelock import FileLock

    place = tmp_path / "tuned" / "folder-test_resnet-16"
    place.mkdir(parents=True)
    with FileLock(place / ".classify.journal.lock"):
        assert main(words(images, tmp_path / "tuned", *small(tmp_path))) == 2
    assert "is in use by another fghash tune" in capsys.readouterr().err
