from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fghash.settings.identity import group_id, run_id
from fghash.store import Record, RunFolder

FIELDS = {field for field in Record.__dataclass_fields__ if field != "scores"}
PROTOCOL = "fghash-1@1,10,100"


def make_record(**changes: Any) -> Record:
    """A record whose ids follow from its seed and method; keywords that are no field are scores."""
    fields = {name: value for name, value in changes.items() if name in FIELDS}
    scores = {name: value for name, value in changes.items() if name not in FIELDS}
    science = {
        "method": fields.get("method", "hashnet"),
        "seed": fields.get("seed", 0),
        "v": fields.get("variant", ""),
    }
    record = Record(
        data="synthetic", method="hashnet", bits=32, trained_bits=32, backbone="resnet18",
        gallery_codes="network", seed=0, variant="", selection="last", protocol=PROTOCOL,
        data_fingerprint="f00", data_description="200 train / 100 query",
        group=group_id(science, "f00", "none"), run=run_id(science, "f00", "none"), notes="",
        scores={"map": 0.5, **scores},
    )  # fmt: skip
    return replace(record, **fields)


def store(runs: Path, *records: Record) -> None:
    """Put finished records into a store."""
    for record in records:
        folder = RunFolder.at(runs, record.data, record.method, record.trained_bits, record.run)
        folder.write_record(record)
        folder.finish(record.protocol)
