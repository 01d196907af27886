"""Every argument of Lightning's Trainer is decided, and what a user writes is what it means."""

import inspect

import pytest
import pytorch_lightning as pl

from fghash.errors import InputError
from fghash.settings.resolve import configure
from fghash.settings.trainer_arguments import IDENTITY, NEUTRAL, OWNED, REFUSED, as_written


def config(**trainer):
    return configure([{"method": "hashnet", "trainer": trainer}])


def test_every_argument_is_in_one_place():
    places = [set(OWNED), set(REFUSED), set(IDENTITY), set(NEUTRAL)]
    assert sum(map(len, places)) == len(set.union(*places))
    assert set.union(*places) == set(inspect.signature(pl.Trainer).parameters)


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("10", 10), (1, 1), (1.0, 1.0)]
)
@pytest.mark.parametrize("key", ["limit_train_batches", "limit_val_batches", "val_check_interval"])
def test_one_is_a_batch_and_one_point_zero_is_all(key, text, number):
    found = as_written(key, text)
    assert (found, type(found)) == (number, type(number))
    stored = config(**{key: text}).trainer[key]
    assert (stored, type(stored)) == (number, type(number))


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_what_would_falsify_a_row_is_refused(key):
    with pytest.raises(InputError, match=rf"trainer\.{key}: not available, "):
        config(**{key: 1})


@pytest.mark.parametrize("key", sorted(OWNED))
def test_what_fghash_sets_names_its_own_setting(key):
    with pytest.raises(InputError, match=rf"trainer\.{key}: this is set by fghash, "):
        config(**{key: 1})


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"precision": "transformer-engine"}, "needs the package transformer_engine, which is not installed"),
        ({"max_epoch": 3}, "did you mean 'max_epochs'"),
        ({"max_epochs": "many"}, "expected int or null, got 'many'"),
        ({"limit_train_batches": "0"}, "expected a number of batches or a share above 0, got 0"),
        ({"limit_train_batches": 1.5}, "expected a share from 0 to 1 or a whole number"),
        ({"accumulate_grad_batches": 0}, "expected at least 1, got 0"),
        ({"max_epochs": -1}, "-1 without --trainer.max_steps"),
        ({"max_time": "soon"}, "expected DD:HH:MM:SS, got 'soon'"),
        ({"profiler": "nothing"}, "expected simple, advanced, pytorch, xla or null"),
        ({"num_nodes": 2}, "started by no launcher"),
        ({"gradient_clip_val": "nan"}, "gradient_clip_val: expected int, float or null, got 'nan'"),
    ],
)
def test_other_mistakes_are_one_line(trainer, message):
    with pytest.raises(InputError, match=message):
        config(**trainer)


@pytest.mark.parametrize(
    "trainer", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 3}, {"limit_val_batches": "0"}]
)
def test_a_validation_that_never_runs_is_refused_before_training(trainer):
    settings = {"method": "hashnet", "data": {"validation": 0.5}, "trainer": {"max_epochs": 2, **trainer}}
    with pytest.raises(InputError, match="no epoch could be selected"):
        configure([settings])
    settings["data"]["validation"] = 0
    configure([settings])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": {"name": "hashnet", "stages": 0}}, "method.stages: got 0"),
        ({"method": {"name": "hashnet", "beta_max": 1e300}}, "method.beta_max"),
        ({"method": {"name": "dpq", "codebook_lr": 1e300}}, "method.codebook_lr"),
        ({"method": {"name": "phpq", "codebook_multiple": 1e300}}, "method.codebook_multiple"),
        ({"method": "hashnet", "data": {"image_size": 99_999_999}}, "must be at most 4096 pixels"),
        ({"method": "hashnet", "data": {"seed": 10**30}}, "--data.seed: must be from 0"),
        ({"method": "hashnet", "batch_size": 10_000}, "10000 is more than"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_written(settings, message, tmp_path):
    from fghash import api

    with pytest.raises(InputError, match=message):
        api.fit({**settings, "gpus": 0, "runs": str(tmp_path / "runs")})
    assert not (tmp_path / "runs").exists()
