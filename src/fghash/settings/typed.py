"""The typed half of the parse: a jsonargparse parser made of the signatures of what was chosen."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentParser

from fghash.errors import InputError
from fghash.registry import DATASETS, METHODS, nearest
from fghash.settings.config import BackboneConfig, OptimConfig, TrackingConfig
from fghash.settings.sources import OWNED, Layer, merge

_LISTED = 25  # more known names than this would hide the message


@dataclass(frozen=True)
class Section:
    """Settings below one word: the parameters of ``signature`` except ``skip``; ``owner``: whose they are."""

    key: str
    signature: type
    owner: str
    skip: frozenset[str] = frozenset()


@dataclass
class SettingsParser:
    """The settings of some sections, by type and default."""

    sections: Sequence[Section]
    parser: ArgumentParser = field(init=False)
    defaults: dict[str, Any] = field(init=False)  # every setting's default, nested
    keys: list[str] = field(init=False)  # every setting's dotted key

    def __post_init__(self) -> None:
        self.parser = ArgumentParser(exit_on_error=False, add_help=False, usage="")
        for section in self.sections:
            self.parser.add_class_arguments(
                section.signature, section.key, skip=set(section.skip), fail_untyped=False, instantiate=False
            )
        defaults = self.parser.get_defaults()
        self.defaults, self.keys = dict(defaults.as_dict()), list(defaults.keys())

    def parse(self, layers: Sequence[Layer]) -> dict[str, Any]:
        """Every setting of these sections, nested: the layers over the defaults.

        Raises:
            InputError: a setting that the signature does not have, lacks, or has with another type.
        """
        own = [self._own(layer) for layer in layers]
        for layer in own:
            self._refuse_unknown(layer)
        try:
            return dict(self.parser.parse_object(merge(own)).as_dict())
        except ArgumentError as error:
            raise InputError(self._one_line(str(error), own)) from None

    def help(self) -> str:
        """One entry a setting: its flag, meaning, type and default."""
        return re.sub(r"(?m)^  --\w+ CONFIG .*\n", "", self.parser.format_help()).partition("\n\n")[2]

    def _own(self, layer: Layer) -> Layer:
        keys = [section.key for section in self.sections if section.key in layer.values]
        return Layer(layer.origin, {key: layer.values[key] for key in keys})

    def _refuse_unknown(self, layer: Layer) -> None:
        for section in self.sections:
            for key in _unknown(layer.values.get(section.key, {}), self.keys, section.key):
                raise InputError(f"{layer.label(key)}: {_unknown_text(key, section, self.keys)}")

    def _one_line(self, text: str, layers: Sequence[Layer]) -> str:
        key = next((key for key in self.keys if _names(text, key)), None)
        if key is None:
            return " ".join(text.split())
        owner = next(section.owner for section in self.sections if key.startswith(f"{section.key}."))
        givers = [layer for layer in layers if _dig(layer.values, key) is not _ABSENT]
        if not givers:
            return f"--{key}: required by {owner}"
        return f"{givers[-1].label(key)}: expected {_expected(text)}, got {_dig(givers[-1].values, key)!r}"


def light_sections() -> list[Section]:
    """Sections whose signatures need no torch."""
    return [
        Section("optim", OptimConfig, "the optimiser"),
        Section("backbone", BackboneConfig, "the backbone"),
        Section("tracking", TrackingConfig, "the tracking"),
    ]


def heavy_sections(method: str, data: str) -> list[Section]:
    """Sections of the chosen classes and of the Trainer; this imports them, and torch with them."""
    import pytorch_lightning as pl

    return [
        method_section(method),
        data_section(data),
        Section("trainer", pl.Trainer, "Lightning's Trainer", frozenset(OWNED)),
    ]


def method_section(name: str) -> Section:
    """The method's own settings: its parameters, except those that the pipeline gives to every method."""
    given = frozenset({"backbone", "num_classes", "bits", "optim"})
    return Section("method", METHODS[name].load(), f"method {name}", given)


def data_section(name: str) -> Section:
    """The data set's own settings: its parameters, except those that the run gives to every data set."""
    given = frozenset({"batch_size", "training_seed"})
    return Section("data", DATASETS[name].load(), f"data set {name}", given)


_ABSENT = object()


def _dig(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part, _ABSENT) if isinstance(found, Mapping) else _ABSENT
    return found


def _names(text: str, key: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", text) is not None


def _unknown(values: Mapping[str, Any], known: Sequence[str], prefix: str) -> Iterator[str]:
    """The dotted keys in ``values`` that are not known; below a known key anything goes (a mapping's own)."""
    for name, value in values.items():
        key = f"{prefix}.{name}"
        if key in known:
            continue
        if isinstance(value, Mapping) and any(each.startswith(f"{key}.") for each in known):
            yield from _unknown(value, known, key)
        else:
            yield key


def _unknown_text(key: str, section: Section, known: Iterable[str]) -> str:
    name = key.removeprefix(f"{section.key}.")
    names = [each.removeprefix(f"{section.key}.") for each in known if each.startswith(f"{section.key}.")]
    listed = f" (known: {', '.join(names)})" if 0 < len(names) <= _LISTED else ""
    return f"unknown setting '{name}' of {section.owner}{listed}{nearest(name, names)}"


def _expected(text: str) -> str:
    """What types jsonargparse says it expected, in plain words."""
    union = re.search(r"Subtypes: \[(.*)\]\n", text)
    single = re.search(r"Expected an? (.*?)\. Got value", text, re.S)
    types = union.group(1) if union else single.group(1) if single else " ".join(text.split())
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null")
    types = re.sub(r"typing\.Literal\[([^\]]*)\]", lambda found: found.group(1).replace("'", ""), types)
    return types.replace("typing.", "").replace("str, Path", "text").replace(", null", " or null")
