"""The scored weights of a run, and what else is needed to build its method again without the data set."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fghash.errors import InputError
from fghash.methods.base import HashingMethod
from fghash.store.writing import replacing, write_text

WEIGHTS, BACKBONE, FACTS = "model.safetensors", "backbone.safetensors", "model.json"


@dataclass(frozen=True)
class StoredModel:
    """What the files hold: the state of the method, its number of classes, their names, and the width of the
    pooled vector.
    """

    state: dict[str, Tensor]
    num_classes: int
    class_names: tuple[str, ...]
    width: int = 0


def save_model(
    folder: Path, method: HashingMethod, class_names: Sequence[str], shared: Path | None = None
) -> None:
    """Write the weights that were scored (safetensors, no pickle) and the names of the classes.

    Args:
        folder: of the run.
        method: with these weights.
        class_names: of the classes.
        shared: folder of frozen backbones: a backbone that was not trained is stored there once, and every
            run has a hard link to it (a copy where the file system has no links).

    Raises:
        InputError: the folder cannot be written.
    """
    state = {name: value.detach().cpu().contiguous().clone() for name, value in method.state_dict().items()}
    frozen = {name: value for name, value in state.items() if name.startswith("backbone.")}
    if shared is not None and frozen and method.backbone.config.freeze == "all":
        state = {name: value for name, value in state.items() if name not in frozen}
        _link(frozen, shared / f"{method.backbone.content}.safetensors", folder / BACKBONE)
    with replacing(folder / WEIGHTS) as temporary:
        _save(state, temporary)
    names = [str(name) for name in class_names]
    facts = {"num_classes": method.num_classes, "class_names": names, "width": method.backbone.width}
    write_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")


def _link(state: dict[str, Tensor], shared: Path, own: Path) -> None:
    """``own`` as another name of ``shared``, which is written if it is not there."""
    if not shared.is_file():
        with replacing(shared) as temporary:
            _save(state, temporary)
    with replacing(own) as temporary:
        try:
            os.link(shared, temporary)
        except OSError:
            shutil.copyfile(shared, temporary)


def _save(state: dict[str, Tensor], path: Path) -> None:
    """What the system said of it, in place of safetensors' own error."""
    try:
        save_file(state, path)
    except SafetensorError as error:
        code = re.search(r"(?:code:|os error) (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def load_model(folder: Path) -> StoredModel:
    """What :func:`save_model` wrote.

    Raises:
        InputError: the run stores no model (it was made by an earlier version), or a file is damaged.
    """
    for name in (WEIGHTS, FACTS):
        if not (folder / name).is_file():
            raise InputError(
                f"run: '{folder}' stores no {name}: not finished, or made by a version that did not store "
                "its model (train it again with --force)"
            )
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        names = tuple(str(name) for name in facts["class_names"])
        number, width = int(facts["num_classes"]), int(facts.get("width", 0))
        frozen = load_file(folder / BACKBONE) if (folder / BACKBONE).is_file() else {}
        return StoredModel({**frozen, **load_file(folder / WEIGHTS)}, number, names, width)
    except (
        OSError,
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
        SafetensorError,
        RecursionError,
    ) as error:
        raise InputError(f"run: the model in '{folder}' is damaged ({error})") from error
