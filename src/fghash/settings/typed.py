"""The typed half of the parse: a jsonargparse parser made of the signatures of what was chosen."""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser

from fghash.errors import InputError
from fghash.registry import DATASETS, METHODS, nearest
from fghash.settings.config import BackboneConfig, OptimConfig, TrackingConfig, plain
from fghash.settings.numbers import short
from fghash.settings.schema import GIVEN, LISTED, listed
from fghash.settings.sources import Layer, merge


@dataclass(frozen=True)
class Section:
    """Settings below one word: the parameters of ``signature`` except ``skip``; ``owner``: whose they are."""

    key: str
    signature: type
    owner: str
    skip: frozenset[str] = frozenset()

    def parameters(self) -> list[Setting]:
        """The parameters that are settings."""
        return _settings_of(self.signature, self.skip)


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
        self._nothing: dict[str, Any] = {
            section.key: {} for section in self.sections
        }  # a class may take none
        self.defaults, self.keys = {**self._nothing, **defaults.as_dict()}, list(defaults.keys())

    def parse(self, layers: Sequence[Layer]) -> dict[str, Any]:
        """Every setting of these sections, nested: the sources over the defaults.

        Raises:
            InputError: a setting that the signature does not have, lacks, or has with another type.
        """
        own = [self._own(layer) for layer in layers]
        for layer in own:
            self._refuse_unknown(layer)
        try:
            given = {key: values for key, values in merge(own).items() if values}
            return {**self._nothing, **self.parser.parse_object(given).as_dict()}
        except ArgumentError as error:
            raise InputError(self._problem(own, str(error))) from None

    def help(self) -> str:
        """One entry a setting: its flag, meaning, type and default."""
        return "\n".join(_entry(section, each) for section in self.sections for each in section.parameters())

    def _own(self, layer: Layer) -> Layer:
        keys = [section.key for section in self.sections if section.key in layer.values]
        return Layer(layer.origin, {key: layer.values[key] for key in keys})

    def _refuse_unknown(self, layer: Layer) -> None:
        for section in self.sections:
            for key in _unknown(layer.values.get(section.key, {}), self.keys, section.key):
                raise InputError(f"{layer.label(key)}: {_unknown_text(key, section, self.keys)}")

    def _problem(self, layers: Sequence[Layer], text: str) -> str:
        """Which setting it was: the first that alone does not parse."""
        for section in self.sections:
            for each in section.parameters():
                key = f"{section.key}.{each.name}"
                givers = [layer for layer in layers if each.name in layer.values.get(section.key, {})]
                if not givers:
                    if each.required:
                        return f"--{key}: required by {section.owner}"
                    continue
                value = givers[-1].values[section.key][each.name]
                if not self._fits(section.key, each.name, value):
                    return f"{givers[-1].label(key)}: expected {each.words}, got {short(value)}"
        return " ".join(text.split())

    def _fits(self, section: str, name: str, value: Any) -> bool:
        try:
            self.parser.parse_object({section: {name: value}}, defaults=False)
        except ArgumentError:
            return False
        return True


@dataclass(frozen=True)
class Setting:
    """A parameter of a constructor: its type, default and meaning."""

    name: str
    kind: Any
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def words(self) -> str:
        """The type in words."""
        return listed(_kind_words(self.kind))


def _settings_of(signature: type, skip: frozenset[str]) -> list[Setting]:
    described = docstring_parser.parse(inspect.getdoc(signature) or "").params
    meanings = {each.arg_name: " ".join((each.description or "").split()) for each in described}
    built: Any = signature if is_dataclass(signature) else vars(signature).get("__init__", signature)
    hints = typing.get_type_hints(built)
    return [
        Setting(name, hints.get(name, Any), each.default, meanings.get(name, ""))
        for name, each in inspect.signature(signature).parameters.items()
        if name not in skip
    ]


def _kind_words(kind: Any) -> list[str]:
    """A type in words, one for each alternative."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return [word for each in typing.get_args(kind) for word in _kind_words(each)]
    if origin is typing.Literal:
        return [str(each) for each in typing.get_args(kind)]
    if origin in (tuple, list):
        inner = [each for each in typing.get_args(kind) if each is not ...]
        return [f"a list of {' or '.join(_kind_words(inner[0]))}" if inner else "a list"]
    named = {type(None): ["null"], bool: ["true", "false"], str: ["text"], Path: ["a path"], Any: ["a value"]}
    return named.get(kind, [getattr(kind, "__name__", str(kind))])


def _entry(section: Section, setting: Setting) -> str:
    default = "required" if setting.required else f"default: {plain(setting.default)}"
    about = f"{setting.meaning} " if setting.meaning else ""
    text = textwrap.wrap(
        f"{about}(type: {setting.words}, {default})", 110, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
    return "\n".join([f"  --{section.key}.{setting.name}", *text])


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
        Section("trainer", pl.Trainer, "Lightning's Trainer", GIVEN["trainer"]),
    ]


def method_section(name: str) -> Section:
    """The method's own settings: its parameters, except those that the pipeline gives to every method."""
    return Section("method", METHODS[name].load(), f"method {name}", GIVEN["method"])


def data_section(name: str) -> Section:
    """The data set's own settings: its parameters, except those that the run gives to every data set."""
    return Section("data", DATASETS[name].load(), f"data set {name}", GIVEN["data"])


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
    listed = f" (known: {', '.join(names)})" if 0 < len(names) <= LISTED else ""
    return f"unknown setting '{name}' of {section.owner}{listed}{nearest(name, names)}"
