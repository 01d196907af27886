"""Bundles on disk and on a model hub: whether one is whole, and fetching it."""

from __future__ import annotations

from pathlib import Path

from fghash.errors import InputError
from fghash.files import checksum
from fghash.optional import import_package
from fghash.store.parsing import read_json

CHECKSUMS = "checksums.json"
CARD = "README.md"
HUB = "hf://"


def is_bundle(folder: Path) -> bool:
    """Whether the folder is a bundle, not a run of a store."""
    return (folder / CARD).is_file() and (folder / "config.yaml").is_file()


def verify_bundle(folder: Path) -> None:
    """Refuse a bundle that is not what was written.

    Raises:
        InputError: a file is missing or differs.
    """
    sums = read_json(folder / CHECKSUMS) if (folder / CHECKSUMS).is_file() else None
    if not isinstance(sums, dict):
        raise InputError(f"bundle: '{folder}' has no {CHECKSUMS}, expected a bundle (fghash export)")
    for name, expected in sums.items():
        path = folder / str(name)
        if Path(str(name)).name != name or not path.is_file() or checksum(path) != expected:
            raise InputError(f"bundle: '{path}' is missing or not what was written")


def fetch(name: str) -> Path:
    """A bundle of the hub, ``hf://user/name`` or ``hf://user/name@revision``, on this machine.

    Raises:
        InputError: the hub does not give it, or it is not whole.
    """
    hub = import_package("huggingface_hub", name, "hub")
    place, _, revision = name.removeprefix(HUB).partition("@")
    try:
        folder = Path(hub.snapshot_download(place, revision=revision or None))
    except Exception as error:  # what the network and the hub say
        raise InputError(f"run: cannot fetch '{name}' ({' '.join(str(error).split())[:300]})") from error
    verify_bundle(folder)
    return folder
