"""Publish a bundle: to a folder, or to a model hub (``hf://user/name``) through huggingface_hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from fghash.errors import InputError
from fghash.files import is_taken, replacing_folder
from fghash.optional import import_package
from fghash.training.bundle_files import CHECKSUMS, HUB, verify_bundle


def publish(bundle: Path, target: str, *, private: bool = False, replace: bool = False) -> str:
    """Copy a bundle that is whole to where others find it; the place in words.

    Args:
        bundle: folder of a bundle.
        target: a folder, or ``hf://user/name``.
        private: of a repository that is made on the hub.
        replace: a folder that is there.

    Raises:
        InputError: not a whole bundle, a folder that holds something, or a hub that refuses.
    """
    verify_bundle(bundle)
    if target.startswith(HUB):
        return _to_hub(bundle, target.removeprefix(HUB), private)
    return _to_folder(bundle, Path(target), replace)


def _to_folder(bundle: Path, folder: Path, replace: bool) -> str:
    if is_taken(folder) and not (replace and (folder / CHECKSUMS).is_file()):
        hint = ", --force replaces a bundle" if (folder / CHECKSUMS).is_file() else ""
        raise InputError(f"publish: '{folder}' is there already, expected a new folder{hint}")
    with replacing_folder(folder, "publish") as building:
        shutil.copytree(bundle, building)
        verify_bundle(building)
    return str(folder)


def _to_hub(bundle: Path, name: str, private: bool) -> str:
    hub = import_package("huggingface_hub", "publish", "hub")
    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"publish: '{HUB}{name}', expected {HUB}user/name")
    try:
        client = hub.HfApi()
        client.create_repo(name, private=private, exist_ok=True)
        return str(
            client.upload_folder(repo_id=name, folder_path=str(bundle), commit_message="fghash bundle")
        )
    except Exception as error:  # what the network and the hub say
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"publish: the hub refuses '{name}' ({reason}); is HF_TOKEN set?") from error
