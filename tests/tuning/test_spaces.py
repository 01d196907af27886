"""Search spaces: every method's own names settings that it has, and others are refused in one line."""

from pathlib import Path

import pytest

from fghash.errors import InputError
from fghash.presets import preset_folder
from fghash.registry import METHODS
from fghash.settings.config import document
from fghash.settings.resolve import configure
from fghash.settings.variants import flat
from fghash.tuning.spaces import SPACE, Dimension, check_settings, read_space
from fghash.tuning.trials import nested


class Trial:
    """Draws the first or the last value of everything."""

    def __init__(self, last):
        self.last = last

    def suggest_categorical(self, name, choices):
        return choices[-1 if self.last else 0]

    def suggest_int(self, name, low, high, log=False):
        return high if self.last else low

    def suggest_float(self, name, low, high, log=False):
        return high if self.last else low


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("frozen", [True, False])
def test_every_method_can_have_the_ends_of_its_space(name, frozen):
    assert (preset_folder(name) / SPACE).is_file()
    space = read_space(name, frozen)
    for last in (False, True):
        drawn = {each.setting: each.draw(Trial(last)) for each in space}
        config = configure([{"method": name, "data": "synthetic", "gpus": 0}, nested(drawn)])
        known = flat(document(config))
        check_settings(space, known)
        assert {key: known[key] for key in drawn} == drawn


def test_the_optimisers_space_is_the_same_for_all():
    shared = {}
    for name in sorted(METHODS):
        for each in read_space(name, frozen=True):
            if each.setting in ("optim.lr", "optim.weight_decay"):
                assert shared.setdefault(each.setting, each) == each
    assert len(shared) == 2


def test_what_plays_no_part_on_a_frozen_backbone_is_left_out():
    assert "optim.head_multiple" in {each.setting for each in read_space("hashnet", frozen=False)}
    assert "optim.head_multiple" not in {each.setting for each in read_space("hashnet", frozen=True)}


def test_values_and_parameters_are_inverse():
    choice = Dimension("a", (None, 0.5, "x"))
    assert [choice.parameter(value) for value in (None, 0.5, "x", 3)] == [0, 1, 2, None]
    assert [choice.value(place) for place in (0, 1, 2)] == [None, 0.5, "x"]
    number = Dimension("b", low=1, high=3)
    assert [number.parameter(value) for value in (0, 1, 3, "x")] == [None, 1, 3, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim.lr: {low: 1, high: 0.1}", "from 1 to 0.1"),
        ("optim.lr: {low: 0, high: 1, log: true}", "above 0 with log"),
        ("optim.lr: {low: a, high: 1}", "expected numbers"),
        ("optim.lr: {choice: []}", "expected a list"),
        ("optim.lr: 3", "expected low and high, or choice"),
        ("optim.lr: {min: 3}", "expected low and high, or choice"),
        ("- a", "holds a list"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_space_that_makes_no_sense_is_one_line(text, message, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_space("hashnet", True, file)
    assert "\n" not in str(caught.value)


def test_a_setting_that_nobody_has_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown setting 'optim.lrr'.*did you mean 'optim.lr'"):
        check_settings((Dimension("optim.lrr", low=0, high=1),), {"optim.lr": 1})


def test_a_file_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match="--space: cannot read"):
        read_space("hashnet", True, Path("nowhere.yaml"))
