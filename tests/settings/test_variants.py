from __future__ import annotations

from typing import Any

import pytest

from fghash.presets import read_preset
from fghash.settings import variants
from fghash.settings.variants import variant


def stored(**changes: Any) -> dict[str, Any]:
    """The config of a run of hashnet's default preset, its sections changed."""
    preset = read_preset("hashnet")
    sections = {
        "method": {"name": "hashnet", "only_of_the_class": 1, **preset["method"]},
        "data": {"name": "synthetic", "root": "/x", **preset.get("data", {})},
        "backbone": {"name": "resnet50", "weights": "w.pth", "options": {}},
        "optim": preset["optim"],
        "trainer": {"max_epochs": 30, **(preset.get("trainer") or {})},
    }
    single = {"bits": 48, "batch_size": preset.get("batch_size", 64), "seed": 3, "preset": "default"}
    for section, values in changes.items():
        if isinstance(values, dict):
            sections[section] = {**sections[section], **values}
        else:
            single[section] = values
    return {**sections, **single}


def test_a_run_of_the_preset_as_it_is_has_no_variant() -> None:
    assert variant(stored(), "") == ""


def test_each_setting_that_differs_is_listed_in_order() -> None:
    config = stored(trainer={"max_epochs": 2}, optim={"lr": 7.0}, backbone={"options": {"pad_type": "same"}})
    assert variant(config, "") == "backbone.options.pad_type=same optim.lr=7.0 trainer.max_epochs=2"
    assert variant(stored(batch_size=7), "") == "batch_size=7"


def test_paths_names_bits_and_seed_are_not_part_of_it() -> None:
    config = stored(data={"root": "/elsewhere", "cache": "ram", "name": "cub200"}, bits=12, seed=9)
    config["backbone"]["name"], config["runs"] = "resnet18", "elsewhere"
    assert variant(config, "") == ""


def test_a_parameter_that_the_preset_does_not_name_is_listed_if_the_run_noted_it() -> None:
    config = stored(method={"only_of_the_class": 2})
    assert variant(config, "") == ""
    assert variant(config, "method.only_of_the_class=2 trainer.max_epochs=9") == "method.only_of_the_class=2"


def test_it_follows_the_preset_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    config = stored(method={"alpha": 0.25})
    assert variant(config, "method.alpha=0.25") == "method.alpha=0.25"
    preset = read_preset("hashnet")
    changed = {
        **preset,
        "method": {**preset["method"], "alpha": 0.25},
        "optim": {**preset["optim"], "lr": 99},
    }
    monkeypatch.setattr(variants, "read_preset", lambda *_: changed)
    variants._preset.cache_clear()
    try:
        assert variant(config, "method.alpha=0.25") == f"optim.lr={config['optim']['lr']}"
    finally:
        variants._preset.cache_clear()


def test_numbers_that_yaml_reads_as_text_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = read_preset("hashnet")
    changed = {**preset, "optim": {**preset["optim"], "lr": "1e-3"}}
    monkeypatch.setattr(variants, "read_preset", lambda *_: changed)
    variants._preset.cache_clear()
    try:
        assert variant(stored(optim={"lr": 0.001}), "") == ""
        assert variant(stored(optim={"lr": 0.002}), "") == "optim.lr=0.002"
    finally:
        variants._preset.cache_clear()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"method": 1, "data": [], "trainer": None},
        stored(preset="gone"),
        stored(method={"name": "gone"}),
        {**stored(), "optim": 3},
        {**stored(), "data": {"name": None}, "trainer": 7},
    ],
    ids=range(6),
)
def test_what_cannot_be_compared_keeps_what_the_run_noted(config: dict[str, Any]) -> None:
    assert variant(config, "method.alpha=3") == "method.alpha=3"
