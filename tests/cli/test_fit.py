"""From a command line to the RunConfig that the pipeline gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fghash.cli import main
from fghash.presets import preset_names, read_preset
from fghash.registry import METHODS
from fghash.settings.config import RunConfig

Fit = Callable[..., RunConfig]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["fit", *words, "--print_config"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_one_name_is_a_complete_command(fit: Fit) -> None:
    config = fit("--method", "hashnet")
    assert (config.data.name, config.bits, config.runs, config.seed) == ("synthetic", 32, Path("runs"), 0)
    assert config.gpus is None
    assert config.differs == ()
    preset = read_preset("hashnet")
    assert config.trainer == preset["trainer"]
    assert preset["data"].items() <= config.data.settings.items()


def test_the_issue_s_spelling(fit: Fit, tmp_path: Path) -> None:
    words = (
        "--method hashnet --data synthetic --bits 16 --gpus 0 --runs there --trainer.max_epochs 3 --seed 5"
    )
    config = fit(*words.split())
    assert (config.bits, config.gpus, config.seed) == (16, 0, 5)
    assert config.runs == Path("there")
    assert config.trainer["max_epochs"] == 3


def test_settings_below_a_name_in_any_order(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    config = fit(
        "--backbone.options.pad_type", "same", "--backbone.options.drop_rate", "0.1", "--method.alpha", "0.1",
        "--backbone.weights=w.pth", "--tracking.project", "P", "--tracking", "wandb,tensorboard",
        "--method=hashnet", "--backbone", "mobilenetv2_100", "--optim.lr", "1e-3", "--optim", "adam",
        "--cutoffs", "1", "5", "--force",
    )  # fmt: skip
    assert config.method.settings["alpha"] == 0.1
    assert (config.backbone.name, config.backbone.weights) == ("mobilenetv2_100", "w.pth")
    assert config.backbone.options == {"pad_type": "same", "drop_rate": 0.1}
    assert (config.tracking.name, config.tracking.project) == (("wandb", "tensorboard"), "P")
    assert (config.optim.name, config.optim.lr) == ("adam", 0.001)
    assert config.cutoffs == (1, 5)
    assert config.force


def test_preset_then_files_in_order_then_flags(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "method: hashnet\noptim: {lr: 1, momentum: 0.1, weight_decay: 7}\nbits: 8"
    )
    (tmp_path / "two.yaml").write_text("optim: {lr: 2, momentum: 0.2}\nbatch_size: 10")
    config = fit("--config", "one.yaml", "--optim.lr", "3", "--config", "two.yaml", "--preset", "faithful")
    faithful = read_preset("hashnet", "faithful")
    assert (config.optim.lr, config.optim.momentum, config.optim.weight_decay) == (3.0, 0.2, 7.0)
    assert (config.bits, config.batch_size, config.preset) == (8, 10, "faithful")
    assert config.optim.step_size == faithful["optim"]["step_size"]
    assert config.method.settings["pairs"] == faithful["method"]["pairs"]


def test_variants_name_what_is_not_the_preset_s(fit: Fit, tmp_path: Path) -> None:
    config = fit(
        "--method", "hashnet", "--trainer.max_epochs", "7", "--method.alpha", "0.1", "--batch_size", "10",
        "--data.image_size", "32", "--bits", "8", "--seed", "3", "--tracking", "wandb", "--runs", "there",
        "--backbone", "resnet34", "--backbone.options.pad_type", "same", "--optim.milestones", "[0.5,0.9]",
        "--trainer.enable_progress_bar", "false", "--data.num_workers", "0", "--optim.name", "adam",
    )  # fmt: skip
    assert config.differs == (
        "backbone.options.pad_type=same", "batch_size=10", "data.image_size=32", "method.alpha=0.1",
        "optim.milestones=[0.5,0.9]", "optim.name=adam", "trainer.max_epochs=7",
    )  # fmt: skip


def test_a_setting_spelt_out_at_its_default_is_no_variant(fit: Fit) -> None:
    plain = fit("--method", "hashnet")
    spelt = fit(
        "--method", "hashnet", "--trainer.accumulate_grad_batches", "1", "--optim.gamma", "0.1",
        "--method.stages", "10",
    )  # fmt: skip
    assert spelt == plain


def test_trainer_settings_whose_default_is_ours_are_passed_on(fit: Fit) -> None:
    # 2 sanity steps are what Lightning does unless told; fghash's own default is none
    config = fit(
        "--method", "hashnet", "--trainer.num_sanity_val_steps", "2", "--trainer.precision", "bf16-mixed"
    )
    assert config.trainer["num_sanity_val_steps"] == 2
    assert config.trainer["precision"] == "bf16-mixed"


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "hashnet"],
        ["--method", "hashnet", "--preset", "faithful", "--gpus", "0"],
        [
            "--method", "hashnet", "--method.alpha", "0.1", "--tracking", "wandb", "--bits", "48",
            "--backbone.options.pad_type", "same", "--trainer.limit_train_batches", "0.5",
            "--trainer.max_time", "00:01:00:00",
        ],
    ],
)  # fmt: skip
def test_the_printed_config_alone_is_the_same_run(
    fit: Fit, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    text = printed(capsys, *words)
    (tmp_path / "printed.yaml").write_text(text)
    assert printed(capsys, "--config", "printed.yaml") == text
    assert fit("--config", "printed.yaml") == fit(*words)


def test_alias_and_long_form_print_the_same(
    capsys: pytest.CaptureFixture[str], fit: Fit, tmp_path: Path
) -> None:
    (tmp_path / "short.yaml").write_text("method: hashnet\nbackbone: resnet18\ntracking: wandb\ngpus: 0")
    texts = {
        printed(
            capsys, "--method", "hashnet", "--backbone", "resnet18", "--tracking", "wandb", "--gpus", "0"
        ),
        printed(
            capsys, "--gpus=0", "--tracking.name=wandb", "--backbone.name=resnet18", "--method.name=hashnet"
        ),
        printed(capsys, "--config", "short.yaml"),
    }
    assert len(texts) == 1
    assert list(yaml.safe_load(texts.pop()))[:4] == ["method", "data", "backbone", "bits"]


def test_printing_needs_no_files_and_no_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        capsys, "--method", "hashnet", "--data", "cub200", "--data.root", "nowhere", "--gpus", "99"
    )
    assert yaml.safe_load(text)["data"]["root"] == "nowhere"


def test_another_data_set_drops_the_file_s_settings_and_says_so(
    fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yaml").write_text("method: hashnet\ndata: {name: cub200, root: nowhere, image_size: 96}")
    words = ["--config", "my.yaml", "--data", "synthetic"]
    config = fit(*words)
    assert config.data.settings["image_size"] != 96
    sampler = read_preset("hashnet")["data"]["sampler"]
    assert config.data.settings["sampler"] == sampler  # the preset's are not of that data set and stay
    said = "fghash: data is now synthetic: dropped root, image_size of data cub200 (my.yaml)\n"
    assert capsys.readouterr().err == said
    monkeypatch.setenv("LOCAL_RANK", "1")
    fit(*words)
    assert capsys.readouterr().err == ""


def test_a_home_folder_is_expanded(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "birds").mkdir()
    config = fit("--method", "hashnet", "--data", "folder", "--data.root=~/birds", "--runs=~/r")
    assert config.data.settings["root"] == str(tmp_path / "birds")
    assert config.runs == tmp_path / "r"


def test_help_lists_the_settings_of_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--method", "hashnet", "--data", "synthetic", "--help"]) == 0
    out = capsys.readouterr().out
    for each in ("--method.alpha", "slope of the sigmoid", "--data.validation", "default: 0.0"):
        assert each in out
    assert "--method CONFIG" not in out
    assert "--data.batch_size" not in out


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_preset_is_its_own_reference(capsys: pytest.CaptureFixture[str], fit: Fit, method: str) -> None:
    for preset in preset_names(method):
        config = fit("--method", method, "--preset", preset)
        assert config.differs == ()
        for key, value in read_preset(method, preset).get("method", {}).items():
            assert _listed(config.method.settings[key]) == value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
