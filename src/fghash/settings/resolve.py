"""From sources of settings to one RunConfig. What needs no torch is checked before anything imports it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.presets import DEFAULT, read_preset, tuning_trials
from fghash.registry import DATASETS, METHODS, look_up, nearest
from fghash.settings.config import (
    BackboneConfig,
    Choice,
    OptimConfig,
    RunConfig,
    TrackingConfig,
    scientific,
)
from fghash.settings.numbers import real, short, whole, yes_or_no
from fghash.settings.schema import GIVEN, LISTED, Parameter, parameters
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
from fghash.settings.trainer_arguments import refuse_no_end, refuse_no_validation
from fghash.settings.variants import COLUMNS, OWN_TRAINER, flat, shown

DATA = "synthetic"
_OWN = Layer("fghash", {"trainer": OWN_TRAINER})
# Trainer arguments whose default is ours: what is said of them counts even if it is Lightning's default.
_OURS = {"max_epochs", "sync_batchnorm", "num_sanity_val_steps", "log_every_n_steps", "enable_model_summary"}


@dataclass(frozen=True)
class Request:
    """What was requested: names, settings without a section, and the sources of settings that apply to them.

    ``below`` are the sources of our own defaults and of the preset, ``layers`` those of the user.
    """

    method: str
    data: str
    single: Mapping[str, Any]
    below: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    notices: tuple[str, ...] = ()

    @property
    def everything(self) -> tuple[Layer, ...]:
        """All sources, lowest first."""
        return (*self.below, *self.layers)


def choose(layers: Sequence[Layer]) -> Request:
    """Settle what is chosen by name, put the preset below the sources, and check what needs no class.

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
    single = single_settings([*below, *layers])
    _refuse_scores_on_queries(single, merge([*below, *layers]).get("data", {}).get("validation"))
    return Request(method, data, single, below, tuple(layers), tuple(notices))


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
    random_weights = mapping_layer({"backbone": {"weights": "none"}, "preset": DEFAULT})  # all is said
    return resolve(choose([layer, random_weights]))


def single_settings(layers: Sequence[Layer]) -> dict[str, Any]:
    """The settings without a section, checked; those that no source names are left to RunConfig's
    defaults.
    """
    return {key: convert(*_last(layers, key)) for key, convert in _SINGLE.items() if key in merge(layers)}


def _last(layers: Sequence[Layer], key: str) -> tuple[Any, str]:
    layer = [layer for layer in layers if key in layer.values][-1]
    return layer.values[key], layer.label(key)


def _cutoffs(value: Any, label: str) -> tuple[int, ...]:
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(whole(word, label, 1) for word in (words if isinstance(words, list) else [words]))


def _refuse_scores_on_queries(single: Mapping[str, Any], validation: Any) -> None:
    if single.get("score_at") and str(validation or 0) in ("0", "0.0"):
        raise InputError(
            f"--score_at: {', '.join(map(str, single['score_at']))}, expected --data.validation above 0 with "
            "it: scores on the way are of a part of train, never of test queries"
        )


def _parts(value: Any, label: str) -> tuple[float, ...]:
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    parts = [real(word, label, 0, 1) for word in (words if isinstance(words, list) else [words])]
    if any(part == 0 for part in parts):
        raise InputError(f"{label}: 0, expected parts of the training above 0, up to 1")
    return tuple(sorted(set(parts)))


def _on_nan(value: Any, label: str) -> int:
    """``stop``, or ``skip N``: how many batches may be left out."""
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else [value]
    if words == ["stop"]:
        return 0
    if len(words) != 2 or words[0] != "skip":
        raise InputError(f"{label}: {short(value)}, expected stop, or skip and a number")
    return whole(words[1], label, 1, 10**6)


def _text(value: Any, label: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{label}: expected text, got {value!r}")
    return value


def read_gpus(value: Any, label: str) -> int | tuple[int, ...] | None:
    """A count, the numbers of some (``0,2`` or a list), or ``None`` for ``auto``.

    Raises:
        InputError: anything else.
    """
    if value in (None, "auto"):
        return None
    words = value.split(",") if isinstance(value, str) and "," in value else value
    if not isinstance(words, list | tuple):
        return whole(value, label, 0, 1024)
    numbers = tuple(whole(word, label, 0, 1023) for word in words if str(word).strip())
    if not numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"{label}: {value}, expected numbers of GPUs, each once, such as 0,2")
    return numbers


_SINGLE = {
    "bits": lambda value, label: whole(value, label, 1, 4096),
    "batch_size": lambda value, label: whole(value, label, 2, 2**20),  # batch statistics need two items
    "seed": lambda value, label: whole(value, label, 0, 2**32 - 1),
    "gpus": read_gpus,
    "cpus": lambda value, label: None if value is None else whole(value, label, 1, 1024),
    "runs": lambda value, label: Path(_text(value, label)).expanduser(),
    "preset": _text,
    "cutoffs": _cutoffs,
    "store_embeddings": lambda value, label: None if value is None else yes_or_no(value, label),
    "score_at": _parts,
    "checkpoint_minutes": lambda value, label: real(value, label, 0, 1440),
    "on_nan": _on_nan,
    "force": yes_or_no,
}


def check_files(request: Request) -> None:
    """Refuse a data folder or a weights file that is not there.

    Raises:
        InputError: naming the setting and the path.
    """
    settings = merge(request.everything)
    root = settings.get("data", {}).get("root")
    DATASETS[request.data].refuse_root(request.data, None if root is None else str(root), "--data.root")
    weights = settings.get("backbone", {}).get("weights") or "none"
    if weights not in ("none", "pretrained") and not Path(str(weights)).expanduser().is_file():
        raise InputError(f"--backbone.weights: no file '{weights}' (allowed: none, pretrained or a file)")


def resolve(request: Request) -> RunConfig:
    """The whole run, every default filled in.

    Raises:
        InputError: an unknown setting, or a value that does not fit its type.
    """
    check_source(request)
    from fghash.settings.typed import SettingsParser, heavy_sections, light_sections

    light = SettingsParser(light_sections())
    values = light.parse(request.everything)  # before the next lines, which import torch
    OptimConfig(**values["optim"]), BackboneConfig(**values["backbone"])  # ranges
    heavy = SettingsParser(heavy_sections(request.method, request.data))
    values |= heavy.parse([_nameless(layer) for layer in request.everything])
    defaults = {**light.defaults, **heavy.defaults}
    asked, unvaried = _assemble(request, values), _unvaried(request, defaults)
    told = merge(request.everything)["trainer"]
    trainer = _canonical(asked.trainer, told, defaults["trainer"])
    refuse_no_end(trainer)
    refuse_no_validation(trainer, float(asked.data.settings.get("validation") or 0))
    keys = frozenset(flat(merge(request.layers)))
    return replace(asked, trainer=trainer, differs=tuple(_differences(asked, unvaried)), asked=keys)


def check_source(request: Request) -> None:
    """Refuse misspelt settings and simple types from the source of the chosen classes, which is not imported.

    Raises:
        InputError: naming the setting, its value and what is allowed.
    """
    sections = {
        "method": (METHODS[request.method].target, f"method {request.method}"),
        "data": (DATASETS[request.data].target, f"data set {request.data}"),
        "trainer": ("pytorch_lightning.trainer.trainer:Trainer", "Lightning's Trainer"),
        "optim": ("fghash.settings.config:OptimConfig", "the optimiser"),
        "backbone": ("fghash.settings.config:BackboneConfig", "the backbone"),
    }
    for section, (target, owner) in sections.items():
        found = parameters(target)
        if found is None:
            continue
        known = {each.name: each for each in found if each.name not in GIVEN.get(section, ())}
        for layer in request.everything:
            _check_section(layer, section, owner, known)


def _check_section(layer: Layer, section: str, owner: str, known: Mapping[str, Parameter]) -> None:
    for key, value in layer.values.get(section, {}).items():
        label = layer.label(f"{section}.{key}")
        if key == "name" and section in ("method", "data"):
            continue
        if key not in known:
            listed = f" (known: {', '.join(known)})" if len(known) <= LISTED else ""
            raise InputError(f"{label}: unknown setting '{key}' of {owner}{listed}{nearest(key, known)}")
        if not isinstance(value, Mapping) and not known[key].accepts(value):
            raise InputError(f"{label}: expected {known[key].words}, got {short(value)}")


def refuse_cpus(request: Request, instead: str) -> None:
    """Refuse processes on the CPU for a command that has another way, which ``instead`` says.

    Raises:
        InputError: they were requested.
    """
    if request.single.get("cpus") is not None:
        raise InputError(f"--cpus: {request.single['cpus']}, not available here: {instead}")


def check_gpus(request: Request) -> None:
    """Refuse more GPUs than the driver knows, without importing torch.

    Raises:
        InputError: fewer GPUs are there; never a silent fallback.
    """
    asked = request.single.get("gpus")
    if request.single.get("cpus") is not None and asked:
        raise InputError(
            f"--cpus: {request.single['cpus']} beside --gpus {asked}, expected one of the two (--gpus 0)"
        )
    wanted = max(asked) + 1 if isinstance(asked, tuple) else asked
    drivers = Path("/proc/driver/nvidia/gpus")
    if wanted and not Path("/dev/kfd").exists() and sys.platform == "linux":
        available = (
            len(list(drivers.iterdir())) if drivers.is_dir() else len(list(Path("/dev").glob("nvidia[0-9]*")))
        )
        if wanted > available:
            shown = ",".join(map(str, asked)) if isinstance(asked, tuple) else asked
            raise InputError(
                f"--gpus: {shown} requested, this machine has {available} "
                f"(allowed: 0 for the CPU, up to {available})"
            )


def _unvaried(request: Request, defaults: Mapping[str, Any]) -> RunConfig:
    """The same run with nothing but the preset."""
    preset = merge([Layer("fghash", dict(defaults)), *request.below])
    batch_size = single_settings(request.below).get("batch_size", RunConfig.batch_size)
    return replace(_assemble(request, preset), batch_size=batch_size)


def _nameless(layer: Layer) -> Layer:
    """The source without the names of method and data, which are no parameters of their classes."""
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
        trials=tuning_trials(str(request.single.get("preset", DEFAULT))),
        **request.single,
    )


def _at_home(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A leading ``~`` of a path expanded, as a shell would not do after ``=`` nor in a file."""
    path = str(settings.get(key))
    return {**settings, key: str(Path(path).expanduser())} if path.startswith("~") else dict(settings)


def _canonical(
    trainer: Mapping[str, Any], told: Mapping[str, Any], lightnings: Mapping[str, Any]
) -> dict[str, Any]:
    """The Trainer's arguments that somebody told, without those that spell out Lightning's default.

    A number keeps the type that it was written in, 1 batch or 1.0 of all: of equal unions ``typing`` keeps
    the one that any package made first, so that the parser may turn one into the other.
    """
    keys = [key for key in trainer if key in told and (key in _OURS or trainer[key] != lightnings[key])]
    return {key: told[key] if _same_number(told[key], trainer[key]) else trainer[key] for key in keys}


def _same_number(told: Any, parsed: Any) -> bool:
    numbers = (int, float)
    return type(told) in numbers and type(parsed) in numbers and bool(told == parsed)


def _differences(asked: RunConfig, unvaried: RunConfig) -> Iterator[str]:
    """``key=value`` of each scientific setting that is not as in ``unvaried``, sorted."""
    ours, theirs = flat(scientific(asked)), flat(scientific(unvaried))
    for key in sorted((ours.keys() | theirs.keys()) - COLUMNS):
        if ours.get(key) != theirs.get(key):
            yield shown(key, ours.get(key))
