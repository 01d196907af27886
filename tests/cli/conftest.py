from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fghash.cli import main
from fghash.codes import BinaryCodes
from fghash.evaluation import evaluate
from fghash.settings.config import RunConfig
from fghash.store import Record, RunFolder


class Api(ModuleType):
    """Stands for fghash.api: keeps the configs it is given, and answers as told."""

    def __init__(self) -> None:
        super().__init__("fghash.api")
        self.configs: list[RunConfig] = []
        self.answer: Callable[[], Any] = lambda: None

    def fit(self, config: RunConfig, *, say: Any) -> SimpleNamespace:
        self.configs.append(config)
        self.answer()
        return SimpleNamespace(records=())


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Api:
    fake = Api()
    monkeypatch.setitem(sys.modules, "fghash.api", fake)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def fit(pipeline: Api) -> Callable[..., RunConfig]:
    """``fghash fit WORDS``: the RunConfig that the pipeline would get."""

    def run(*words: str) -> RunConfig:
        assert main(["fit", *words]) == 0
        return pipeline.configs[-1]

    return run


@pytest.fixture
def refused(pipeline: Api, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
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


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Puts a finished run of random codes for 4 classes x 3 items into ``runs``: its folder's path."""
    monkeypatch.chdir(tmp_path)
    labels = np.arange(4).repeat(3)

    def put(method: str, *kinds: tuple[int, str], seed: int = 0, fingerprint: str = "f00") -> str:
        folder = RunFolder.at(Path("runs"), "synthetic", method, 8, f"{method}{seed}")
        random = np.random.default_rng(seed)
        for bits, gallery_codes in kinds or [(8, "network")]:
            codes = BinaryCodes(random.random((12, bits)) < 0.5)
            for part in ("gallery", "queries"):
                folder.write_codes(bits, gallery_codes, part, codes, labels)
            result = evaluate(codes, codes, labels, labels, kernel="numpy")
            folder.write_groups(bits, gallery_codes, result.groups)
            folder.write_record(
                Record(
                    data="synthetic", method=method, bits=bits, trained_bits=8, backbone="resnet18",
                    gallery_codes=gallery_codes, seed=seed, variant="", selection="last",
                    protocol=result.protocol.name, data_fingerprint=fingerprint, data_description="tiny",
                    group=method, run=folder.path.name, notes="", scores={**result.scores, "map_real": 0.75},
                )
            )  # fmt: skip
        folder.finish("fghash-1@1,10,100")
        return str(folder.path)

    return put
