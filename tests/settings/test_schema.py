"""What the source of a class tells of its settings is what importing it tells."""

import inspect
import subprocess
import sys

import pytest

from fghash.registry import DATASETS, METHODS
from fghash.settings.schema import Parameter, parameters

TARGETS = {name: info.target for registry in (METHODS, DATASETS) for name, info in registry.items()}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_names_are_those_of_the_signature(name):
    info = METHODS.get(name) or DATASETS[name]
    found = parameters(info.target)
    assert [each.name for each in found] == list(inspect.signature(info.load()).parameters)


def test_a_class_that_is_not_in_the_source_is_left_to_the_import():
    assert parameters("fghash.methods.dpq:Nothing") is None
    assert parameters("no_such_package:Nothing") is None


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("int", "3", True), ("int", "3.5", False), ("int", True, False), ("float", "1e-3", True),
        ("float", "nan", False), ("float", "inf", False), ("float", "x", False), ("bool", "True", True),
        ("bool", "1", False), ("int | None", "null", True), ("Optional[int]", None, True), ("str", "x", True),
        ("Union[int, float]", "0.5", True), ("Literal['a', 'b']", "b", True),
        ("Literal['a', 'b']", "c", False),
        ("", "anything", True), ("tuple[int, ...]", "[1]", True),
    ],
)  # fmt: skip
def test_only_what_cannot_fit_is_refused(kind, value, fits):
    assert Parameter("x", kind).accepts(value) == fits


def test_misspelt_settings_need_no_torch(tmp_path):
    script = """
        import sys
        from fghash.cli import main
        fit = ["fit", "--method", "hashnet"]
        for words in (["--data.rooot", "x"], ["--trainer.max_epoch", "1"], ["--method.alfa", "1"],
                      ["--method.stages", "many"], ["--gpus", "99"], ["--optim.lr", "nan"],
                      ["--seed", "99999999999"], ["--batch_size", "1"], ["--optim.warmup", "1" * 300],
                      ["--trainer.fast_dev_run", "1"], ["--backbone.freeze", "some"]):
            assert main([*fit, *words]) == 2, words
        assert not {"torch", "pytorch_lightning", "timm"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(script)], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 11, done.stderr
    assert not list(tmp_path.iterdir())
