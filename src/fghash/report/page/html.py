"""The page as one file: template, style, script, libraries and data inlined."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fghash import __version__
from fghash.errors import InputError
from fghash.store.writing import write_text

_OURS = "fghash.report.page"


def write_page(path: Path, title: str, contents: Mapping[str, Any], lacking: Sequence[str] = ()) -> None:
    """Write the page, atomically.

    Args:
        path: of the file.
        title: above everything.
        contents: of :func:`fghash.report.page.contents.contents`.
        lacking: a line about each row that should be there and is not.

    Raises:
        InputError: the folder cannot be written, or a library of the page is not installed.
    """
    write_text(path, render(title, contents, lacking))


def render(title: str, contents: Mapping[str, Any], lacking: Sequence[str] = ()) -> str:
    """The page as text.

    Raises:
        InputError: a library of the page is not installed.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    template = Environment(autoescape=True).from_string(_own("page.html"))
    return template.render(
        title=title,
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        lacking=lacking,
        style=Markup(_own("page.css")),  # noqa: S704, our own file
        script=Markup(_own("page.js")),  # noqa: S704, our own file
        data=Markup(_json(contents)),  # noqa: S704, cannot end the element that it stands in
        libraries=Markup(_json(_libraries())),  # noqa: S704, base64
    )


def _own(name: str) -> str:
    return resources.files(_OURS).joinpath(name).read_text(encoding="utf-8")


def _json(values: Any) -> str:
    """JSON that may stand in a script element, whatever the texts in it are."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _libraries() -> dict[str, str]:
    """Plotly.js and DataTables as the packages plotly and itables bring them: gzip in base64."""
    try:
        tables, charts = resources.files("itables"), resources.files("plotly")
        parts = {
            "plotly": charts.joinpath("package_data", "plotly.min.js"),
            "tables": tables.joinpath("html", "dt_bundle.js"),
            "style": tables.joinpath("html", "dt_bundle.css"),
        }
        return {name: _packed(part.read_bytes()) for name, part in parts.items()}
    except (ModuleNotFoundError, OSError) as error:
        raise InputError(f"report: needs the packages plotly and itables ({error})") from error
