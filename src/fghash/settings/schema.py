"""The settings of a class read from its source: a misspelt one is refused without importing torch.

Names and simple types of the constructor's parameters are all that is read; what is not found here (a class
made at run time, say) is left to the typed parse, which imports the class.
"""

from __future__ import annotations

import ast
import importlib.util
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fghash.settings.trainer_arguments import OWNED

LISTED = 25  # more known names than this would hide a message
GIVEN = {  # parameters that the run gives to every class; they are no settings
    "method": frozenset({"backbone", "num_classes", "bits", "optim"}),
    "data": frozenset({"batch_size", "training_seed"}),
    "trainer": frozenset(OWNED),
}
_TRUE_FALSE = ("true", "false")


@dataclass(frozen=True)
class Parameter:
    """A keyword of a constructor: its name and its type as written in the source, empty if there is none."""

    name: str
    kind: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether the value may fit: only what certainly does not is refused."""
        kinds = _alternatives(self.kind)
        return not kinds or any(_fits(kind, value) for kind in kinds)

    @property
    def words(self) -> str:
        """The type for people.

        >>> Parameter("x", "int | None").words, Parameter("x", "Literal['a', 'b']").words
        ('int or null', 'a, b')
        """
        return listed([word for kind in _alternatives(self.kind) for word in _words(kind)])


def listed(words: list[str]) -> str:
    """``a, b or null``."""
    text = ", ".join(word for word in words if word != "null")
    return text + (" or null" if "null" in words else "")


@cache
def parameters(target: str) -> tuple[Parameter, ...] | None:
    """The keywords of the constructor of ``module:Class``, ``None`` if the source does not tell.

    Nothing but the packages above the module is imported.
    """
    module, _, name = target.partition(":")
    found = _class(module, name, depth=0)
    if found is None:
        return None
    module, node = found
    if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        return tuple(Parameter(ast.unparse(each.target), _kind(module, each.annotation)) for each in fields)
    init = next(
        (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None
    )
    if init is None:
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        return parameters(f"{module}:{bases[0]}") if bases else None
    if init.args.kwarg is not None:
        return None
    arguments = [*init.args.args[1:], *init.args.kwonlyargs]
    return tuple(Parameter(each.arg, _kind(module, each.annotation)) for each in arguments)


def _kind(module: str, annotation: ast.expr | None) -> str:
    """A type as written, with the module's own names for literals written out."""
    if annotation is None:
        return ""
    kind = ast.unparse(annotation)
    written = {name: _literal(module, name, depth=0) for name in re.findall(r"\b[A-Z]\w*\b", kind)}
    for name, literal in written.items():
        if literal:
            kind = re.sub(rf"\b{name}\b(?!\[)", literal.replace("\\", "\\\\"), kind)
    return kind


def _literal(module: str, name: str, depth: int) -> str:
    """The ``Literal[...]`` that the module calls ``name``, or nothing."""
    if depth > 3 or name == "Literal":
        return ""
    for node in _statements(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value = ast.unparse(node.value)
            return value if value.startswith("Literal[") else ""
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            return _literal(str(node.module), original, depth + 1)
    return ""


def _class(module: str, name: str, depth: int) -> tuple[str, ast.ClassDef] | None:
    """The class, in this module or in the one that it is imported from."""
    if depth > 5:
        return None
    for node in _statements(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            return _class(str(node.module), original, depth + 1)
    return None


@cache
def _statements(module: str) -> list[ast.stmt]:
    """The source of a module, parsed; empty if there is none."""
    path = _source(module)
    return [] if path is None else ast.parse(path.read_text(encoding="utf-8")).body


def _source(module: str) -> Path | None:
    """The file of a module below a package that is installed; the module itself is not imported."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not below:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder).joinpath(*below)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _alternatives(kind: str) -> list[str]:
    """The parts of a union, ``Optional`` included."""
    optional = re.fullmatch(r"(?:typing\.)?Optional\[(.*)\]", kind)
    if optional:
        return [*_alternatives(optional[1]), "None"]
    union = re.fullmatch(r"(?:typing\.)?Union\[(.*)\]", kind)
    separator = "," if union else "|"
    return [part.strip() for part in _split(union[1] if union else kind, separator) if part.strip()]


def _split(text: str, separator: str) -> Iterator[str]:
    depth, start = 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == separator and depth == 0:
            yield text[start:i]
            start = i + 1
    yield text[start:]


def _fits(kind: str, value: Any) -> bool:
    text = str(value).strip()
    if kind == "None":
        return value is None or text in ("null", "None", "~", "")
    if kind == "int":
        return not isinstance(value, bool) and re.fullmatch(r"[+-]?[0-9]+", text) is not None
    if kind == "float":
        return not isinstance(value, bool) and _is_number(text)
    if kind == "bool":
        return text.lower() in _TRUE_FALSE
    if kind.startswith("Literal["):
        return text in _choices(kind)
    return True


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except (ValueError, OverflowError):
        return False


def _choices(kind: str) -> list[str]:
    try:
        value = ast.literal_eval(f"({kind.removeprefix('Literal[').removesuffix(']')},)")
    except (ValueError, SyntaxError):
        return []
    return [str(each) for each in value]


def _words(kind: str) -> list[str]:
    if kind == "None":
        return ["null"]
    if kind.startswith("Literal["):
        return _choices(kind)
    return {"bool": ["true", "false"]}.get(kind, [kind.replace("str", "text")])
