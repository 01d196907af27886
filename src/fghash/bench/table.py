"""A table file: axes whose product makes cells, with common settings, rows and exclusions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.flags import NAMED, SECTIONS, SINGLE
from fghash.settings.resolve import Request, check_files, check_gpus, check_source, choose
from fghash.settings.sources import Layer, flag_layer, mapping_layer, merge

KEYS = ("common", "axes", "rows", "exclude", "seeds")
_NOT_OF_CELLS = ("runs", "force")  # one store for all cells; bench decides what is run


@dataclass(frozen=True)
class Cell:
    """One training: its sources of settings, lowest first, what was chosen of each, and its coordinates.

    ``shown`` names it for people: its coordinates on the axes and in the rows.
    """

    layers: tuple[Layer, ...]
    request: Request
    shown: str

    @property
    def settings(self) -> dict[str, Any]:
        """All that the table and the flags say, nested."""
        return merge(self.layers)

    @property
    def bits(self) -> int:
        """Its code length."""
        return int(self.request.single.get("bits", 32))


@dataclass(frozen=True)
class Table:
    """A grid: its name, the comment at the head of its file, and its cells in the order they are run."""

    name: str
    header: tuple[str, ...]
    cells: tuple[Cell, ...]


class _NoDuplicates(yaml.SafeLoader):
    """YAML whose mappings may not name a key twice: the second would silently replace the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As always, after a look at the keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise InputError(f"'{key.value}' stands there twice (line {key.start_mark.line + 1})")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_table(path: Path, flags: Mapping[str, Any]) -> Table:
    """The table in a YAML file; ``flags`` are nested settings that hold for every cell, over the file's.

    Raises:
        InputError: not such a file, an unknown method, setting or axis, an empty axis, or one named twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _NoDuplicates)  # noqa: S506, a SafeLoader
    except InputError as error:
        raise InputError(f"table: '{path}': {error}") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"table: cannot read '{path}' ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(f"table: '{path}' holds no settings, expected {', '.join(KEYS)}")
    return Table(path.stem, _header(text), tuple(_cells(path, content, flag_layer(flags))))


def _header(text: str) -> tuple[str, ...]:
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return tuple(line.lstrip("# ").rstrip() for line in lines)


def _cells(path: Path, content: Mapping[str, Any], flags: Layer) -> Iterator[Cell]:
    """Every combination of row and axis values but the excluded ones; equal cells come once."""
    for key in content:
        if key not in KEYS:
            known = f"(known: {', '.join(KEYS)}){nearest(str(key), KEYS)}"
            raise InputError(f"table: '{path}': unknown key '{key}' {known}")
    axes, rows = _axes(path, content), _rows(path, content)
    common = _layer(path, "common", content.get("common") or {})
    excluded = [rule for each in _list(path, content, "exclude") for rule in _rules(path, each)]
    seen: set[str] = set()
    for number, combination in enumerate(_combinations(axes, rows)):
        layers = (common, *combination, flags)
        cell = _cell(path, layers, combination, number)
        known = repr(sorted(cell.settings.items(), key=str))
        if known in seen or any(_matches(cell.settings, rule) for rule in excluded):
            continue
        seen.add(known)
        yield cell
    if not seen:
        raise InputError(f"table: '{path}' has no cell, expected axes or rows that leave one")


def _combinations(axes: Mapping[str, list[Layer]], rows: list[Layer]) -> Iterator[tuple[Layer, ...]]:
    """All rows and axes of the first seed come first: a table that is cut short has every method in it."""
    seeds = axes.get("seed", [])
    others = [values for name, values in axes.items() if name != "seed"]
    first: list[tuple[Layer, ...]] = [(each,) for each in seeds]
    for seed in first or [()]:
        for combination in itertools.product(rows, *others) if rows else itertools.product(*others):
            yield (*combination, *seed)


def _axes(path: Path, content: Mapping[str, Any]) -> dict[str, list[Layer]]:
    given = content.get("axes") or {}
    if not isinstance(given, dict):
        raise InputError(f"table: axes of '{path}' are {type(given).__name__}, expected name: [values]")
    if "seeds" in content:
        if "seed" in given:
            raise InputError(f"table: '{path}' has an axis 'seed' and 'seeds', expected one of them")
        given = {**given, "seed": content["seeds"]}
    return {str(name): _axis(path, str(name), values) for name, values in given.items()}


def _axis(path: Path, name: str, values: Any) -> list[Layer]:
    """A source of settings for each value of the axis ``name``, which may have dots."""
    first = name.partition(".")[0]
    if first not in (*SECTIONS, *SINGLE) or first in _NOT_OF_CELLS:
        known = [each for each in (*SECTIONS, *SINGLE) if each not in _NOT_OF_CELLS]
        raise InputError(
            f"table: '{path}': unknown axis '{name}' (known: {', '.join(known)}, or a setting below one, as"
            f" optim.lr){nearest(name, known)}"
        )
    if not isinstance(values, list) or not values:
        raise InputError(f"table: axis '{name}' of '{path}' is {values!r}, expected a list of values")
    return [_layer(path, f"axis {name}", _nested(name, value)) for value in values]


def _nested(name: str, value: Any) -> dict[str, Any]:
    for word in reversed(name.split(".")):
        value = {word: value}
    return dict(value)


def _rows(path: Path, content: Mapping[str, Any]) -> list[Layer]:
    if "rows" in content and not content["rows"]:
        raise InputError(f"table: rows of '{path}' are empty, expected settings of one row or more")
    return [_layer(path, f"row {i + 1}", each) for i, each in enumerate(_list(path, content, "rows"))]


def _rules(path: Path, given: Any) -> Iterator[dict[str, Any]]:
    """An exclusion as settings; a list of names, as ``method: [dpq, phpq]``, is a rule for each of them."""
    if not isinstance(given, dict):
        raise InputError(f"table: exclude of '{path}' holds {given!r}, expected settings, each as key: value")
    listed = [key for key, value in given.items() if key in NAMED and isinstance(value, list)]
    for names in itertools.product(*(given[key] for key in listed)):
        yield _layer(path, "exclude", {**given, **dict(zip(listed, names, strict=True))}).values


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    values = content.get(key) or []
    if not isinstance(values, list):
        raise InputError(f"table: {key} of '{path}' is {type(values).__name__}, expected a list")
    return values


def _layer(path: Path, part: str, values: Any) -> Layer:
    if not isinstance(values, dict):
        raise InputError(f"table: {part} of '{path}' is {values!r}, expected settings, each as key: value")
    for key in _NOT_OF_CELLS:
        if key in values:
            raise InputError(f"table: {part} of '{path}' sets '{key}', expected --{key} of fghash bench")
    try:
        return Layer(part, mapping_layer(values).values)
    except InputError as error:
        raise InputError(f"table: {part} of '{path}': {error}") from None


def _cell(path: Path, layers: tuple[Layer, ...], own: Sequence[Layer], number: int) -> Cell:
    try:
        request = choose(_with_method_in_preset(layers))
        check_source(request)
        check_files(request)
        check_gpus(request)
    except InputError as error:
        raise InputError(f"table: '{path}', cell {number + 1} ({_shown(own)}): {error}") from None
    return Cell(_with_method_in_preset(layers), request, _shown([*own, _names(request)]))


def _with_method_in_preset(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """``{method}`` and ``{bits}`` in a preset's path are those of the cell."""
    merged = merge(layers)
    preset = merged.get("preset")
    if not isinstance(preset, str) or "{" not in preset:
        return layers
    name = str(merged.get("method", {}).get("name", ""))
    text = preset.replace("{method}", name).replace("{bits}", str(merged.get("bits", 32)))
    return (*layers, Layer(layers[-1].origin, {"preset": text}))


def _names(request: Request) -> Layer:
    return Layer("", {"method": {"name": request.method}})


def _shown(own: Sequence[Layer]) -> str:
    """``hashnet bits=16 seed=0 method.alpha=0.1``: the method, then what the axes and the row say."""
    merged = merge(own)
    method = merged.get("method", {}).get("name", "")
    rest = [f"{key}={value}" for key, value in _flat(merged) if key != "method"]
    return " ".join([each for each in (str(method), *rest) if each])


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        word = above if key == "name" and above else f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, word)
        else:
            yield word, value


def _matches(settings: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Whether the settings hold all that the rule says; a list in the rule allows each of its values."""
    return all(_agrees(settings.get(key), value) for key, value in rule.items())


def _agrees(setting: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return isinstance(setting, Mapping) and _matches(setting, value)
    return setting in value if isinstance(value, list) else setting == value
