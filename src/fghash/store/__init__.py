"""The store: one folder a run, with its records, codes and tie groups."""

from fghash.store.provenance import environment
from fghash.store.record import Record, SkippedRecord
from fghash.store.run_folder import RunFolder, require_writable, run_folders

__all__ = ["Record", "RunFolder", "SkippedRecord", "environment", "require_writable", "run_folders"]
