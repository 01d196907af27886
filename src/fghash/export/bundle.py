"""A bundle: a stored run without its data, codes and paths, to be copied, published and loaded by anybody.

================== ========================================================================================
file               what it holds
================== ========================================================================================
README.md          the model card: what it is, how it is used, data, protocol, scores with intervals, licences
config.yaml        the settings, without paths of the machine that trained it
model.json         number and names of the classes, width of the pooled vector
model.safetensors  all weights, the backbone's too, codebooks among them
codebooks.safetensors  of methods of codewords, by themselves
transform.json     what is done to an image before the network
scores.json        the records of the run, with 95 % intervals
checksums.json     SHA-256 of each of these files
================== ========================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from fghash import __version__
from fghash.api import LoadedRun
from fghash.backbone import Backbone
from fghash.codes import QuantizedCodes
from fghash.data.images.transforms import MARGIN, stored_size
from fghash.data.prepare.origins import SOURCES
from fghash.display import harmless
from fghash.errors import InputError
from fghash.evaluation import bootstrap_intervals
from fghash.evaluation.protocol import RetrievalProtocol
from fghash.export.graph import encoder_graph
from fghash.files import checksum, is_taken, replacing_folder
from fghash.registry import METHODS
from fghash.settings.config import document
from fghash.store import RunFolder
from fghash.training.bundle_files import CARD, CHECKSUMS
from fghash.training.model_files import save_model

_PATHS = {"root", "cache", "file"}
_SHOWN = ("map", "map_at_1000", "precision_at_10", "precision_at_100", "map_real")


def write_bundle(run: LoadedRun, folder: Path) -> None:
    """Write the bundle of a run into a new folder, whole or not at all.

    Raises:
        InputError: a folder that holds something, or that cannot be written.
    """
    if is_taken(folder):
        raise InputError(f"--out: '{folder}' is there already, expected a new folder")
    with replacing_folder(folder, "--out") as building:
        building.mkdir(parents=True)
        _fill(run, building)


def _fill(run: LoadedRun, folder: Path) -> None:
    config = portable(document(run.config), run.method.portable_settings())
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    save_model(folder, run.method.cpu(), run.class_names)
    _write_json(folder / "transform.json", transform_of(run))
    scores = scored(run)
    _write_json(folder / "scores.json", scores)
    codes = encoder_graph(run).outputs.codes
    if isinstance(codes, QuantizedCodes):
        books = torch.from_numpy(codes.codebooks)
        about = {"structure": codes.structure, "similarity": codes.similarity}
        save_file({"codebooks": books}, folder / "codebooks.safetensors", about)
    (folder / CARD).write_text(card(run, scores), encoding="utf-8")
    sums = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    _write_json(folder / CHECKSUMS, sums)


def portable(config: Mapping[str, Any], of_method: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without paths: of a machine, and of whoever trained there; ``of_method`` in place of the
    method's own.
    """
    values: dict[str, Any] = {**config, "runs": "runs", "tracking": {**config["tracking"], "entity": None}}
    data = {key: None if key in _PATHS and value else value for key, value in config["data"].items()}
    if data.get("features") is not None:
        data["features"] = "ram"  # features were rounded: that belongs to the encoder
    if config["data"].get("root") is not None:
        data["root"] = "data"
    values["data"] = data
    weights = str(config["backbone"]["weights"])
    values["backbone"] = {**config["backbone"], "weights": Path(weights).name}
    values["method"] = {**config["method"], **of_method}
    values["preset"] = Path(str(config["preset"])).name if "/" in str(config["preset"]) else config["preset"]
    return values


def transform_of(run: LoadedRun) -> dict[str, Any]:
    """What is done to an image, for those who read no Python."""
    backbone = run.method.backbone
    assert isinstance(backbone, Backbone)
    return {
        "colours": "RGB",
        "short_side": stored_size(run.transform.size),
        "resample": "bilinear, antialiased",
        "crop": {"size": run.transform.size, "where": "centre"},
        "margin": MARGIN,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
    }


def scored(run: LoadedRun) -> list[dict[str, Any]]:
    """The run's records with 95 % intervals of their scores; those of a bundle as they are."""
    folder = RunFolder(run.folder)
    if (run.folder / "scores.json").is_file():
        from fghash.store.parsing import read_json

        return list(read_json(run.folder / "scores.json", limit=None))
    rows = []
    for record in folder.records():
        groups = folder.read_groups(record.bits, record.gallery_codes)
        intervals = {} if groups is None else bootstrap_intervals(groups, RetrievalProtocol())
        rows.append({**json.loads(record.to_json()), "intervals": intervals})
    return rows


def card(run: LoadedRun, scores: list[dict[str, Any]]) -> str:
    """The model card, in the form that model hubs read."""
    config = run.config
    info = METHODS[config.method.name]
    rows = [_row(row) for row in scores]
    names = [harmless(name) for name in run.class_names]
    header = {
        "library_name": "fghash",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["image-retrieval", "hashing", config.method.name, config.backbone.name],
    }
    source = SOURCES.get(config.data.name)
    terms = source.terms if source is not None else "those of the data set"
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {config.method.name}, {config.bits} bits, {config.backbone.name}, trained on {config.data.name}

{info.summary[:1].upper()}{info.summary[1:]}. Paper: {info.paper or "none"} ({info.year or "-"}).
Reproduction fidelity: {info.certainty}.

An encoder of images for retrieval, made with fghash {__version__}: each image becomes a code
of {config.bits} bits; images of one class have codes that are close.

## Use

```python
from fghash.api import load_run

run = load_run("this folder")
codes = run.encode(["a.jpg", "b.jpg"])                # as a gallery stores them
queries = run.encode(["query.jpg"], queries=True)     # what they are compared with
```

```bash
fghash encode FOLDER photos --out codes.npz
fghash index codes.npz --out index
fghash search index query.jpg --run FOLDER
```

Encoder {run.encoder}: indexes remember it, and refuse the queries of another.

## Data and protocol

Trained on `{config.data.name}`{_described(scores)}, {len(names)} classes, {run.transform.size} pixels,
seed {config.seed}, preset `{Path(str(config.preset)).name}`. Queries are the test split, the gallery is the
training split unless the data set has one of its own, relevant is what shares the class. Nothing was selected
on queries.

## Scores

{"".join(rows) if rows else "None are stored."}
{_notes(scores)}
Scores are of this data and split alone. Expect lower ones on other images, and check the classes that matter
to you (`fghash report`).

## Classes

{", ".join(names[:200]) or "not stored"}{", ..." if len(names) > 200 else ""}

## Licences

- Code of fghash: Apache-2.0.
- Data (`{config.data.name}`): {terms}. Weights trained on them may be bound by these terms.
- Starting weights of the network (`{config.backbone.name}`): those of their source; random ones have none.
"""


def _described(scores: list[dict[str, Any]]) -> str:
    return f" ({harmless(str(scores[0]['data_description']))})" if scores else ""


def _row(row: Mapping[str, Any]) -> str:
    """One record as a list entry."""
    parts = []
    for name in _SHOWN:
        value, interval = row["scores"].get(name), row["intervals"].get(name)
        if value is not None:
            between = f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
            parts.append(f"`{name}` {value:.4f}{between}")
    kind = "" if row["gallery_codes"] == "network" else f", {row['gallery_codes']} gallery codes"
    return f"- {row['bits']} bits{kind}, protocol `{row['protocol']}`, 95 % intervals: {'; '.join(parts)}\n"


def _notes(scores: list[dict[str, Any]]) -> str:
    notes = dict.fromkeys(str(row.get("notes") or "") for row in scores)
    return "".join(f"\n{harmless(note)}\n" for note in notes if note)


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
