from __future__ import annotations

from pathlib import Path

import pytest

from fghash.errors import InputError
from fghash.settings.sources import chosen, flag_layer, merge, read_config, settle


def write(folder: Path, text: str, name: str = "my.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_short_and_long_form_of_a_name_in_a_file(tmp_path: Path) -> None:
    short = read_config(write(tmp_path, "method: hashnet\ntracking: wandb,tensorboard\noptim: adam"))
    long = read_config(
        write(
            tmp_path, "method: {name: hashnet}\ntracking: {name: [wandb, tensorboard]}\noptim: {name: adam}"
        )
    )
    assert short == long


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "# nothing\n")).values == {}


def test_later_layers_win_key_by_key(tmp_path: Path) -> None:
    one = read_config(write(tmp_path, "optim: {lr: 1, momentum: 2}\nbits: 8", "one.yaml"))
    two = read_config(write(tmp_path, "optim: {lr: 3}", "two.yaml"))
    assert merge([one, two, flag_layer({"bits": "16"})]) == {"optim": {"lr": 3, "momentum": 2}, "bits": "16"}


def test_another_choice_drops_the_settings_of_the_first(tmp_path: Path) -> None:
    file = read_config(write(tmp_path, "method: {name: hashnet, alpha: 0.1}\nbits: 8"))
    layers, notices = settle([file, flag_layer({"method": {"name": "phpq", "words": "64"}})], "method")
    assert merge(layers) == {"method": {"name": "phpq", "words": "64"}, "bits": 8}
    assert notices == [f"method is now phpq: dropped alpha of method hashnet ({tmp_path / 'my.yaml'})"]


def test_the_same_choice_and_nameless_settings_stay(tmp_path: Path) -> None:
    file = read_config(write(tmp_path, "method: {alpha: 0.1}"))
    layers = [file, flag_layer({"method": {"name": "hashnet"}})]
    assert settle(layers, "method") == (layers, [])
    assert chosen(layers, "method") == "hashnet"
    assert chosen(layers, "data") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n- 2", "holds a list"),
        ("bits", "holds a str"),
        ("bits: [1", "is not YAML"),
        ("bts: 3", "unknown setting 'bts'.*did you mean 'bits'"),
        ("1: 3", "unknown setting '1'"),
        ("bits: {a: 1}", "bits: has no settings below it"),
        ("method: 3", "method: expected a name or settings, got 3"),
        ("method: [hashnet]", "method: expected a name"),
        ("method: {name: 3}", "method: expected a name, got 3"),
        ("trainer: 3", "trainer: expected settings"),
        ("trainer: {devices: 2}", "trainer.devices: this is set by fghash, use --gpus"),
        ("tracking: wandbb", "unknown name 'wandbb'.*did you mean 'wandb'"),
    ],
)
def test_files_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "my.yaml" in str(caught.value)


def test_a_missing_file_a_folder_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(InputError, match="--config"):
            read_config(path)


def test_tracking_can_be_switched_off() -> None:
    assert flag_layer({"tracking": {"name": "none"}}).values == {"tracking": {"name": []}}
