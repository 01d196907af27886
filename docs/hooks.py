"""Pages of the site that are generated: methods from the registry, commands from their parsers, tables from
CSV; and formulas, which become MathML while the site is built, so that a browser asks nobody for fonts.
"""

from __future__ import annotations

import contextlib
import csv
import html
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fghash.cli import main
from fghash.cli.entry import COMMANDS
from fghash.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
BUILT_IN = ("hashnet", "dpq", "phpq", "exchnet", "fph")
TABLES = {
    "baselines_mobilenetv2": "All baselines, frozen MobileNetV2, equally tuned",
    "frozen_mobilenetv2": "Five methods, frozen MobileNetV2",
    "frozen_mobilenetv2_birds": "Five methods, frozen MobileNetV2 of birds",
    "frozen_efficientnet_lite0": "Five methods, frozen EfficientNet-Lite0",
    "frozen_efficientnet_lite2": "Five methods, frozen EfficientNet-Lite2",
    "ann_cub50_1m": "Nearest-neighbour indexes over a million items",
}
ACTIONS = {"data": ("prepare", "check", "images")}  # commands of commands
_COLUMNS = (
    "data",
    "method",
    "bits",
    "backbone",
    "seeds",
    "map",
    "map_std",
    "precision_at_10",
    "map_real",
    "trials",
)
_ASKED = re.compile(r"\{\{ README: (.+?) \}\}")
_BLOCK = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$`])\$([^$`\n]+?)\$(?!\$)")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = {
        "methods/index.md": methods_page(),
        "methods/baselines.md": baselines_page(),
        "commands.md": commands_page(),
        "tables.md": tables_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Sections of the README where a page asks for them; formulas between dollars become MathML."""
    return with_formulas(_ASKED.sub(lambda match: readme_section(match[1]), markdown))


def readme_section(title: str) -> str:
    """The text below a heading of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    if not found:
        raise LookupError(f"README.md has no section '{title}'")
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", found)  # its links lead elsewhere from here


def with_formulas(markdown: str) -> str:
    """The text with every ``$...$`` and ``$$...$$`` outside code as MathML."""
    parts = _CODE.split(markdown)
    return "".join(part if i % 2 else _converted(part) for i, part in enumerate(parts))


def _converted(text: str) -> str:
    from latex2mathml.converter import convert

    def block(match: re.Match[str]) -> str:
        return f'\n<div class="formula">{convert(" ".join(match[1].split()), display="block")}</div>\n'

    return _INLINE.sub(lambda match: convert(match[1]), _BLOCK.sub(block, text))


# -- methods -------------------------------------------------------------------------------------------------


def methods_page() -> str:
    """Every method, with its paper and how faithful it is."""
    rows = []
    for name, info in METHODS.items():
        place = f"{name}.md" if name in BUILT_IN else f"baselines.md#{name}"
        paper = f"{info.paper} ({info.year})" if info.paper else "-"
        rows.append(f"| [`{name}`]({place}) | {info.summary} | {paper} | {info.certainty or '-'} |")
    head = ["| method | what it is | paper | reproduction fidelity |", "|---|---|---|---|"]
    said = "Generated from the registry. A reconstruction is labelled so wherever its numbers appear."
    return "\n".join(["# Methods", "", said, "", *head, *sorted(rows), ""])


def baselines_page() -> str:
    """Every baseline: what its class says of itself, and its settings."""
    parts = [
        "# Baselines",
        "",
        "They are registered through the entry points that any other package uses.",
        "",
    ]
    for name, info in sorted(METHODS.items()):
        if name in BUILT_IN:
            continue
        paper = f"{info.paper} ({info.year}). " if info.paper else ""
        certainty = f"Reproduction fidelity: {info.certainty}." if info.certainty else ""
        notes = f"\n\n!!! note\n    {info.notes}\n" if info.notes else ""
        summary = f"{info.summary[:1].upper()}{info.summary[1:]}."
        parts += [f"## {name}", "", summary, "", f"{paper}{certainty}{notes}", "", *described(info), ""]
    return "\n".join(parts)


def described(info: Any) -> Iterator[str]:
    """The docstring of a method's module, and its settings with their defaults."""
    cls = info.load()
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    yield from ["```text", module, "```", ""]
    yield from settings_table(cls)


def settings_table(cls: type) -> Iterator[str]:
    """The keywords of a method's constructor."""
    import docstring_parser

    given = {
        each.arg_name: each.description for each in docstring_parser.parse(inspect.getdoc(cls) or "").params
    }
    own = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not own:
        return
    yield from ["| setting | default | meaning |", "|---|---|---|"]
    for parameter in own:
        meaning = " ".join(str(given.get(parameter.name) or "").split()).replace("|", "\\|")
        meaning = re.sub(r"``([^`]+)``", r"`\1`", meaning)
        yield f"| `{parameter.name}` | `{parameter.default!r}` | {meaning} |"


# -- commands ------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """What each command prints under --help."""
    parts = ["# Commands", "", "Generated from the parsers. `fghash COMMAND --help` prints the same.", ""]
    for name, command in COMMANDS.items():
        summary = f"{command.summary[:1].upper()}{command.summary[1:]}."
        parts += [f"## fghash {name}", "", summary, "", "```bash", command.example, "```", ""]
        for words in ([name], *([name, action] for action in ACTIONS.get(name, ()))):
            parts += ["```text", help_of(*words), "```", ""]
    return "\n".join(parts)


def help_of(*words: str) -> str:
    """The text of ``fghash WORDS --help``."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main([*words, "--help"])
    if status:
        raise RuntimeError(f"fghash {' '.join(words)} --help: status {status}")
    return said.getvalue().rstrip()


# -- tables --------------------------------------------------------------------------------------------------


def tables_page() -> str:
    """The leaderboards of experiments/leaderboard, as `fghash leaderboard` and `fghash ann` wrote them."""
    parts = [
        "# Tables", "",
        "Written by `fghash leaderboard` and `fghash ann`; all columns: `experiments/leaderboard/*.csv`. "
        "CUB and Grocery are subsets of 50 and 24 classes here: not comparable with figures of whole sets. "
        "The README says how each was made.", "",
    ]  # fmt: skip
    for name, title in TABLES.items():
        parts += [f"## {title}", "", *table(ROOT / "experiments" / "leaderboard" / f"{name}.csv"), ""]
    return "\n".join(parts)


def table(path: Path) -> Iterator[str]:
    """A CSV in Markdown, its best known columns."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in _COLUMNS if column in rows[0]] if "map" in rows[0] else list(rows[0])
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(row[column]) for column in columns)} |"


def _cell(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return html.escape(text).replace("|", "\\|")
    return text if number.is_integer() else f"{number:.3f}"
