from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fghash.cli import main
from fghash.config import RunConfig


class Pipeline(ModuleType):
    """Stands for fghash.pipeline: keeps the configs it is given, and answers as told."""

    def __init__(self) -> None:
        super().__init__("fghash.pipeline")
        self.configs: list[RunConfig] = []
        self.answer: Callable[[], int] = lambda: 0

    def fit(self, config: RunConfig) -> int:
        self.configs.append(config)
        return self.answer()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Pipeline:
    fake = Pipeline()
    monkeypatch.setitem(sys.modules, "fghash.pipeline", fake)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def fit(pipeline: Pipeline) -> Callable[..., RunConfig]:
    """``fghash fit WORDS``: the RunConfig that the pipeline would get."""

    def run(*words: str) -> RunConfig:
        assert main(["fit", *words]) == 0
        return pipeline.configs[-1]

    return run


@pytest.fixture
def refused(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``fghash WORDS``, which must end with status 2 and one line of error: that line."""

    def run(*words: str) -> str:
        assert main(list(words)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("fghash: error: ")
        assert not pipeline.configs
        return err.removeprefix("fghash: error: ").rstrip("\n")

    return run
