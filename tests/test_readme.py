"""What the README shows must work."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from processes import run_all

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_evaluation_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "from fghash.evaluation import" in block]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102


def contract_of_plain(site: Path) -> int:
    """The contract tests of the method ``plain``, in a process that finds its package."""
    sys.path.insert(0, str(site))
    tests = [str(ROOT / "tests" / "methods" / "test_contract.py"), str(ROOT / "tests" / "test_fit.py")]
    options = ["-k", "plain", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    return int(pytest.main([*options, "-o", f"pythonpath={ROOT / 'tests'}", *tests]))


@pytest.mark.xdist_group("processes")
def test_two_files_make_a_method(tmp_path: Path) -> None:
    """The README's method and entry, installed as another package would, pass the contract of all methods."""
    (method,) = [block for block in blocks("python") if "class Plain" in block]
    (entry,) = [block for block in blocks("python") if block.startswith('"plain":')]
    (tmp_path / "plain_package.py").write_text(method)
    (tmp_path / "plain_entry.py").write_text(
        "from fghash.registry import MethodInfo\n"
        + "ENTRIES = {" + entry.replace("fghash.methods.plain:", "plain_package:") + "}\n"
        + 'PLAIN = ENTRIES["plain"]\n'
    )  # fmt: skip
    info = tmp_path / "plain-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fghash.methods]\nplain = plain_entry:PLAIN\n")
    run_all([(contract_of_plain, tmp_path)], tmp_path)
    printed = (tmp_path / "job0.log").read_text()
    n_passed = int(re.search(r"(\d+) passed", printed).group(1))  # type: ignore[union-attr]
    assert n_passed >= 13, printed


def joined(block: str) -> list[str]:
    """The lines of a block, those that a backslash continues in one."""
    return block.replace("\\\n", " ").splitlines()


def test_every_command_names_known_things() -> None:
    from fghash.cli.entry import COMMANDS
    from fghash.registry import DATASETS, METHODS

    lines = [line.partition("#")[0] for block in blocks("bash") for line in joined(block)]
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
    "grid", sorted((ROOT / "experiments" / "frozen").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_frozen_grid_makes_runs(grid: Path) -> None:
    from fghash.registry import METHODS
    from fghash.settings.resolve import choose
    from fghash.settings.sources import mapping_layer

    content = yaml.safe_load(re.sub(r"\$\{\w+\}", "here", grid.read_text(encoding="utf-8")))
    assert set(content["methods"]) <= set(METHODS)
    for method in content["methods"]:
        layers = [mapping_layer(content["common"]), mapping_layer({"method": method})]
        assert choose(layers).method == method


@pytest.mark.parametrize(
    "grid", sorted((ROOT / "experiments" / "tables").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_table_has_cells_and_says_what_it_is(grid: Path, tmp_path: Path) -> None:
    from fghash.bench.table import read_table

    text = grid.read_text(encoding="utf-8")
    needs_root = "cub200" in text or "name: csv" in text
    table = read_table(grid, {"data": {"root": str(tmp_path)}} if needs_root else {})
    assert len(table.cells) >= 2
    assert len(table.header) >= 1
