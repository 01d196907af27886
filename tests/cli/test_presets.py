from __future__ import annotations

import re
from importlib import resources

import pytest

from fghash.errors import InputError
from fghash.presets import preset_names, read_preset
from fghash.registry import METHODS

SECTIONS = {"method", "optim", "batch_size", "trainer", "data", "backbone"}
OURS = sorted(name for name, info in METHODS.items() if info.target.startswith("fghash.methods."))


@pytest.mark.parametrize("method", OURS)
def test_our_methods_have_both(method: str) -> None:
    assert preset_names(method)[:2] == ("default", "faithful")
    assert set(preset_names(method)) <= {"default", "faithful", "pretrained", "scratch"}
    for preset in preset_names(method):
        assert set(read_preset(method, preset)) <= SECTIONS


@pytest.mark.parametrize("method", OURS)
def test_each_value_tells_its_origin(method: str) -> None:
    for preset in preset_names(method):
        text = (resources.files("fghash.presets") / method / f"{preset}.yaml").read_text()
        for line in text.splitlines():
            if re.match(r"\s*\w+: *[^ #]", line):
                assert re.search(r" # .*\w", line), f"{method}/{preset}: no origin in {line!r}"


def test_a_method_without_files_has_an_empty_default() -> None:
    assert preset_names("somebody_elses") == ("default",)
    assert read_preset("somebody_elses") == {}


def test_an_unknown_preset() -> None:
    known = "known: default, faithful, pretrained, scratch"
    with pytest.raises(InputError, match=rf"--preset: .*'fathful' \({known}\), did you mean 'faithful'"):
        read_preset("hashnet", "fathful")


def test_a_preset_may_be_a_file(fit, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("method: {alpha: 0.25}\noptim: {lr: 0.125}\nbatch_size: 32\n")
    config = fit("--method", "hashnet", "--preset", str(path), "--optim.lr", "0.5")
    assert (config.method.settings["alpha"], config.optim.lr, config.batch_size) == (0.25, 0.5, 32)
    assert config.preset == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bits: 3", "holds 'bits', expected method, optim, batch_size, trainer, data"),
        ("[1]", "expected method, optim"),
        ("a: [", "cannot read"),
        ("method: {alfa: 1}", "unknown setting 'alfa' of method hashnet"),
    ],
)
def test_a_file_that_is_no_preset_is_one_line(refused, tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert message in refused("fit", "--method", "hashnet", "--preset", str(path))
    assert "cannot read" in refused("fit", "--method", "hashnet", "--preset", str(tmp_path / "none.yaml"))


def test_of_the_backbone_a_preset_says_one_thing_alone(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("backbone: {freeze_batchnorm: true}\n")
    assert read_preset("hashnet", str(file)) == {"backbone": {"freeze_batchnorm": True}}
    file.write_text("backbone: {name: resnet50}\n")
    with pytest.raises(InputError, match=r"backbone of '.*' is .*, expected freeze_batchnorm alone"):
        read_preset("hashnet", str(file))
