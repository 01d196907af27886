"""Packages that not everybody needs."""

from __future__ import annotations

import importlib
from typing import Any

from fghash.errors import InputError


def import_package(name: str, wanted_by: Any, extra: str) -> Any:
    """The module ``name``, for what ``wanted_by`` names.

    Raises:
        InputError: it is not installed; the message says which extra has it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        missing = (error.name or package).partition(".")[0]
        state = "is not installed" if missing == package else f"cannot be imported ({error})"
        raise InputError(
            f"{wanted_by}: needs the package {package}, which {state} (pip install 'fghash[{extra}]')"
        ) from None
