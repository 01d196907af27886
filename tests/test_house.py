"""The layout of the package: one name a module, and no import circle."""

import ast
from collections import Counter
from pathlib import Path

import fghash

ROOT = Path(fghash.__file__).parent
MODULES = {
    ".".join(("fghash", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def imported(name: str, path: Path) -> set[str]:
    """Modules of fghash that this module imports anywhere, inside functions too (types apart)."""
    found = set()
    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fghash"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in MODULES else str(node.module) for each in inner}
    return (found & MODULES.keys()) - {name}


def walk(tree: ast.AST):
    """Every node but those below ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from walk(node)


def test_no_two_modules_have_one_name():
    names = Counter(name.rpartition(".")[2] for name, path in MODULES.items() if path.stem != "__init__")
    assert not [name for name, count in names.items() if count > 1]


def test_no_import_circle():
    """Depth first; a package's __init__ counts as a module, and belongs to its members."""
    graph = {name: imported(name, path) for name, path in MODULES.items()}
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        trail.append(name)
        for other in sorted(graph[name]):
            assert state.get(other) != 1, " -> ".join([*trail[trail.index(other) :], other])
            if other not in state:
                visit(other)
        trail.pop()
        state[name] = 2

    for name in sorted(graph):
        if name not in state:
            visit(name)
