"""What the README shows must work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_evaluation_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "from fghash.evaluation import" in block]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102


def test_the_method_of_the_recipe_trains_and_encodes() -> None:
    import torch

    from fghash.backbone import Backbone
    from fghash.batch import Batch
    from fghash.settings.config import BackboneConfig, OptimConfig

    (example,) = [block for block in blocks("python") if "class Plain" in block]
    names: dict[str, Any] = {"__name__": "plain"}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102
    torch.manual_seed(0)
    method = names["Plain"](Backbone(BackboneConfig()), 3, 16, OptimConfig(), weight=0.5)
    images = torch.randn(4, 3, 64, 64)
    terms = method.loss(Batch(images, torch.tensor([0, 1, 2, 0]), torch.arange(4)))
    sum(terms.values()).backward()
    assert method.hash.weight.grad.abs().sum() > 0
    assert method.eval().encode(images).bits.shape == (4, 16)


def test_every_command_names_known_things() -> None:
    from fghash.cli.entry import COMMANDS
    from fghash.registry import DATASETS, METHODS

    lines = [line.partition("#")[0] for block in blocks("bash") for line in block.splitlines()]
    words = [shlex.split(line) for line in lines if line.startswith("fghash ")]
    assert words
    for command in words:
        assert command[1] in COMMANDS
        for flag, known in (("--method", METHODS), ("--data", DATASETS)):
            if flag in command:
                assert command[command.index(flag) + 1] in known


def test_the_table_of_methods_is_that_of_the_registry() -> None:
    from fghash.registry import METHODS

    section = README.partition("## Reproduction fidelity")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(METHODS)


@pytest.mark.parametrize(
    "grid", sorted((ROOT / "experiments" / "tables").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_grid_gives_commands(grid: Path) -> None:
    from fghash.registry import METHODS

    script = ROOT / "experiments" / "tables" / "run.py"
    command = [sys.executable, str(script), str(grid), "--runs", "R", "--dry", "--", "--gpus", "0"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert lines
    for words in lines:
        assert words[:2] == ["fghash", "fit"]
        assert words[-4:] == ["--runs", "R", "--gpus", "0"]
        assert words[words.index("--method") + 1] in METHODS
