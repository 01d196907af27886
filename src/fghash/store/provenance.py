"""Where a run was made: stored with it, never part of its id."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fghash


def environment(versions: Mapping[str, str]) -> dict[str, Any]:
    """Interpreter, machine and code of this process; ``versions`` of the libraries that shape the numbers."""
    return {
        "fghash": fghash.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "versions": dict(sorted(versions.items())),
        "commit": source_commit(Path(fghash.__file__).parent),
    }


def source_commit(package: Path) -> str | None:
    """Commit of the checkout that ``package`` is tracked in (``+`` if changed since), or ``None``."""
    # Installed inside someone else's checkout the package is not tracked there, and that commit says nothing.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
