from __future__ import annotations

import configparser
from fnmatch import fnmatch
from pathlib import Path

import fghash.published

SETUP = Path(__file__).parents[2] / "setup.cfg"


def test_every_table_and_preset_is_package_data() -> None:
    """What the editable install reads from the tree, a wheel must carry."""
    settings = configparser.ConfigParser()
    settings.read(SETUP)
    patterns = settings["options.package_data"]["fghash"].split()
    package = Path(fghash.published.__file__).parents[1]
    data = [path for kind in ("*.csv", "*.yaml") for path in package.rglob(kind)]
    left_out = [
        str(path) for path in data
        if not any(fnmatch(path.relative_to(package).as_posix(), pattern) for pattern in patterns)
    ]  # fmt: skip
    assert data
    assert left_out == []


def test_every_package_is_listed() -> None:
    settings = configparser.ConfigParser()
    settings.read(SETUP)
    listed = set(settings["options"]["packages"].split())
    source = SETUP.parent / "src"
    found = {".".join(path.parent.relative_to(source).parts) for path in source.glob("fghash/**/__init__.py")}
    assert found <= listed, f"not in setup.cfg: {sorted(found - listed)}"
