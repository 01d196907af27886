"""The site: everything that is generated is complete, links lead somewhere, and it builds."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fghash.cli.entry import COMMANDS
from fghash.registry import METHODS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_is_there_with_its_help(hooks):
    text = hooks.commands_page()
    assert re.findall(r"^## fghash (\S+)$", text, re.MULTILINE) == list(COMMANDS)
    assert "--skip_unreadable" in text
    assert "--per_class" in text


def test_every_method_is_there_with_its_certainty(hooks):
    text = hooks.methods_page()
    for name, info in METHODS.items():
        assert f"[`{name}`]" in text
        assert info.certainty in text
    below = hooks.baselines_page()
    others = set(METHODS) - set(hooks.BUILT_IN)
    assert set(re.findall(r"^## (\w+)$", below, re.MULTILINE)) == others
    for name in hooks.BUILT_IN:
        page = (ROOT / "docs" / "pages" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        certainty = METHODS[name].certainty.partition(":")[0]
        assert f"Reproduction fidelity: **{certainty}**" in page
        assert ("reconstruction" in page.lower()) == ("reconstruct" in METHODS[name].certainty)


def test_tables_are_those_of_the_experiments(hooks):
    text = hooks.tables_page()
    for name in hooks.TABLES:
        rows = (ROOT / "experiments" / "leaderboard" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        part = text.partition(f"## {hooks.TABLES[name]}")[2].partition("\n## ")[0]
        assert sum(line.startswith("| ") for line in part.splitlines()) == len(rows)


def test_formulas_become_mathml_outside_code_alone(hooks):
    pytest.importorskip("latex2mathml")
    text = hooks.with_formulas("a $x_i$ `$y$`\n```\n$$z$$\n```\n$$\\sum_i w_i$$")
    assert text.count("<math") == 2
    assert "`$y$`" in text
    assert "$$z$$" in text


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_repository_lead_somewhere(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = ROOT / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_commands_of_the_pages_are_known():
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    words = [line.split() for line in lines if line.startswith("fghash ")]
    assert words
    assert all(each[1] in COMMANDS for each in words)


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    words = [
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        str(ROOT / "docs" / "mkdocs.yml"),
        "-d",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    html = (tmp_path / "python.html").read_text(encoding="utf-8")
    assert "fghash.api.load_run" in html
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")]
    assert not any(
        re.search(r'<(?:script|link)[^>]+(?:src|href)="https?://(?!squidfunk|www\.mkdocs)', page)
        for page in pages
    )
