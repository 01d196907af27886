"""From layers of settings to one RunConfig. What needs no torch is checked before anything imports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.presets import DEFAULT, read_preset
from fghash.registry import DATASETS, METHODS, look_up
from fghash.settings.config import (
    BackboneConfig,
    Choice,
    OptimConfig,
    RunConfig,
    TrackingConfig,
    scientific,
)
from fghash.settings.numbers import whole, yes_or_no
from fghash.settings.sources import (
    Layer,
    chosen,
    config_layer,
    mapping_layer,
    merge,
    preset_layer,
    read_config,
    settle,
)
from fghash.settings.variants import COLUMNS, OWN_TRAINER, flat, shown

DATA = "synthetic"
_OWN = Layer("fghash", {"trainer": OWN_TRAINER})
# Trainer arguments whose default is ours: what is said of them counts even if it is Lightning's default.
_OURS = {"max_epochs", "sync_batchnorm", "num_sanity_val_steps", "log_every_n_steps", "enable_model_summary"}


@dataclass(frozen=True)
class Request:
    """What was asked for: names, settings without a section, and the layers of settings that apply to them.

    ``below`` are the layers of our own defaults and of the preset, ``layers`` those of the user.
    """

    method: str
    data: str
    single: Mapping[str, Any]
    below: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    notices: tuple[str, ...] = ()

    @property
    def everything(self) -> tuple[Layer, ...]:
        """All layers, lowest first."""
        return (*self.below, *self.layers)


def choose(layers: Sequence[Layer]) -> Request:
    """Settle what is chosen by name, put the preset below the layers, and check what needs no class.

    Raises:
        InputError: no method, a name that nothing has, or a number out of range.
    """
    notices: list[str] = []
    for section in ("method", "data", "backbone"):
        layers, dropped = settle(layers, section)
        notices += dropped
    method, data = chosen(layers, "method"), chosen(layers, "data") or DATA
    if method is None:
        raise InputError(f"--method: required (known: {', '.join(sorted(METHODS))})")
    look_up(METHODS, method, "--method")
    look_up(DATASETS, data, "--data")
    preset = str(merge(layers).get("preset", DEFAULT))
    below = (_OWN, preset_layer(method, preset, read_preset(method, preset)))
    return Request(method, data, single_settings([*below, *layers]), below, tuple(layers), tuple(notices))


def configure(sources: Sequence[Mapping[str, Any]], *files: Path) -> RunConfig:
    """The whole run from plain nested settings, the later ones over the earlier ones, and those over files.

    Raises:
        InputError: an unknown setting, a value that does not fit, or a folder or file that is not there.
    """
    given = [*map(read_config, files), *map(mapping_layer, sources)]
    request = choose(given)
    check_files(request)
    return resolve(request)


def stored_config(text: str, origin: str) -> RunConfig:
    """The settings of a stored run from its ``config.yaml``; data and weights need not be there any more.

    The weights are those in the store: the backbone is built with random ones.

    Raises:
        InputError: not the config of a run.
    """
    layer = config_layer(text, f"{origin}/config.yaml")
    random_weights = mapping_layer({"backbone": {"weights": "none"}})
    return resolve(choose([layer, random_weights]))


def single_settings(layers: Sequence[Layer]) -> dict[str, Any]:
    """The settings without a section, checked; those that no layer names are left to RunConfig's defaults."""
    return {key: convert(*_last(layers, key)) for key, convert in _SINGLE.items() if key in merge(layers)}


def _last(layers: Sequence[Layer], key: str) -> tuple[Any, str]:
    layer = [layer for layer in layers if key in layer.values][-1]
    return layer.values[key], layer.label(key)


def _cutoffs(value: Any, label: str) -> tuple[int, ...]:
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(whole(word, label, 1) for word in (words if isinstance(words, list) else [words]))


def _text(value: Any, label: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{label}: expected text, got {value!r}")
    return value


_SINGLE = {
    "bits": lambda value, label: whole(value, label, 1),
    "batch_size": lambda value, label: whole(value, label, 1),
    "seed": lambda value, label: whole(value, label, 0),
    "gpus": lambda value, label: None if value is None else whole(value, label, 0),
    "runs": lambda value, label: Path(_text(value, label)).expanduser(),
    "preset": _text,
    "cutoffs": _cutoffs,
    "store_embeddings": lambda value, label: None if value is None else yes_or_no(value, label),
    "force": yes_or_no,
}


def check_files(request: Request) -> None:
    """Refuse a data folder or a weights file that is not there.

    Raises:
        InputError: naming the setting and the path.
    """
    settings = merge(request.everything)
    root = settings.get("data", {}).get("root")
    if root is None and DATASETS[request.data].needs_root:
        raise InputError(f"--data.root: data set {request.data} needs the folder of its files")
    if root is not None and not Path(str(root)).expanduser().is_dir():
        raise InputError(f"--data.root: no such folder '{root}'")
    weights = settings.get("backbone", {}).get("weights") or "none"
    if weights not in ("none", "pretrained") and not Path(str(weights)).expanduser().is_file():
        raise InputError(f"--backbone.weights: no file '{weights}' (allowed: none, pretrained or a file)")


def resolve(request: Request) -> RunConfig:
    """The whole run, every default filled in.

    Raises:
        InputError: an unknown setting, or a value that does not fit its type.
    """
    from fghash.settings.typed import SettingsParser, heavy_sections, light_sections

    light = SettingsParser(light_sections())
    values = light.parse(request.everything)  # before the next line, which imports torch
    heavy = SettingsParser(heavy_sections(request.method, request.data))
    values |= heavy.parse([_nameless(layer) for layer in request.everything])
    defaults = {**light.defaults, **heavy.defaults}
    asked, unvaried = _assemble(request, values), _unvaried(request, defaults)
    told = merge(request.everything)["trainer"]
    trainer = _canonical(asked.trainer, told, defaults["trainer"])
    return replace(asked, trainer=trainer, differs=tuple(_differences(asked, unvaried)))


def _unvaried(request: Request, defaults: Mapping[str, Any]) -> RunConfig:
    """The same run with nothing but the preset."""
    preset = merge([Layer("fghash", dict(defaults)), *request.below])
    batch_size = single_settings(request.below).get("batch_size", RunConfig.batch_size)
    return replace(_assemble(request, preset), batch_size=batch_size)


def _nameless(layer: Layer) -> Layer:
    """The layer without the names of method and data, which are no parameters of their classes."""
    values = dict(layer.values)
    for section in {"method", "data"} & values.keys():
        values[section] = {key: value for key, value in values[section].items() if key != "name"}
    return Layer(layer.origin, values)


def _assemble(request: Request, values: Mapping[str, Any]) -> RunConfig:
    return RunConfig(
        method=Choice(request.method, values["method"]),
        data=Choice(request.data, _at_home(values["data"], "root")),
        backbone=BackboneConfig(**_at_home(values["backbone"], "weights")),
        optim=OptimConfig(**values["optim"]),
        trainer=values["trainer"],
        tracking=TrackingConfig(**values["tracking"]),
        **request.single,
    )


def _at_home(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A leading ``~`` of a path expanded, as a shell would not do after ``=`` nor in a file."""
    path = str(settings.get(key))
    return {**settings, key: str(Path(path).expanduser())} if path.startswith("~") else dict(settings)


def _canonical(
    trainer: Mapping[str, Any], told: Mapping[str, Any], lightnings: Mapping[str, Any]
) -> dict[str, Any]:
    """The Trainer's arguments that somebody told, without those that spell out Lightning's default."""
    keys = [key for key in trainer if key in told and (key in _OURS or trainer[key] != lightnings[key])]
    return {key: trainer[key] for key in keys}


def _differences(asked: RunConfig, unvaried: RunConfig) -> Iterator[str]:
    """``key=value`` of each scientific setting that is not as in ``unvaried``, sorted."""
    ours, theirs = flat(scientific(asked)), flat(scientific(unvaried))
    for key in sorted((ours.keys() | theirs.keys()) - COLUMNS):
        if ours.get(key) != theirs.get(key):
            yield shown(key, ours.get(key))
