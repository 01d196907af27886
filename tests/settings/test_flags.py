from __future__ import annotations

from pathlib import Path

import pytest

from fghash.errors import InputError
from fghash.settings.flags import read_flags


def test_both_spellings_nest_alike() -> None:
    spaced = read_flags(["--method.alpha", "0.1", "--method", "hashnet", "--bits", "-8"])
    joined = read_flags(["--bits=-8", "--method=hashnet", "--method.alpha=0.1"])
    assert spaced.values == joined.values == {"method": {"name": "hashnet", "alpha": "0.1"}, "bits": "-8"}


def test_long_form_of_a_name_is_the_short_one() -> None:
    assert read_flags(["--tracking.name", "wandb"]).values == read_flags(["--tracking", "wandb"]).values


def test_last_flag_counts_but_configs_add_up() -> None:
    flags = read_flags(["--bits", "8", "--config", "a.yaml", "--bits=16", "--config=b.yaml"])
    assert flags.values == {"bits": "16"}
    assert flags.configs == [Path("a.yaml"), Path("b.yaml")]


def test_switches_take_no_value_and_cutoffs_take_several() -> None:
    flags = read_flags(["--cutoffs", "1", "5", "--force", "--print_config", "--seed", "3"])
    assert flags.values == {"cutoffs": ["1", "5"], "force": "true", "seed": "3"}
    assert flags.print_config
    assert not flags.help


def test_deep_keys_nest() -> None:
    assert read_flags(["--backbone.options.pad_type", "same"]).values == {
        "backbone": {"options": {"pad_type": "same"}}
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hashnet"], "unexpected 'hashnet'"),
        (["--", "--bits", "8"], "unexpected '--'"),
        (["-b", "8"], "unexpected '-b'"),
        (["--bits"], "--bits: a value is missing"),
        (["--bits", "--seed", "1"], "--bits: a value is missing"),
        (["--cutoffs"], "--cutoffs: a value is missing"),
        (["--force=maybe"], "--force: takes no value"),
        (["--backbone.options", "{}", "--backbone.options.a", "1"], "given as one value already"),
    ],
)
def test_words_without_a_place(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        read_flags(words)
