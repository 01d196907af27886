from __future__ import annotations

from pathlib import Path

import pytest

from fghash.cli import main
from small_runs import small_images, small_run

pytest.importorskip("faiss", exc_type=ImportError)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs of binary codes, of product and additive codewords, and of real vectors, by method."""
    store = tmp_path_factory.mktemp("runs")
    return {name: small_run(store, name) for name in ("itq", "pq", "rq", "frozen")}


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Queries of the runs' data as files, <class>/<name>.png."""
    return small_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def command(capsys):
    """``fghash WORDS``: exit status, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(command):
    """``fghash WORDS``, which must end with status 2 and one line of error: that line."""

    def run(*words):
        status, _, err = command(*words)
        assert status == 2
        assert err.count("\n") == 1, err
        assert err.startswith("fghash: error: ")
        return err.removeprefix("fghash: error: ").rstrip("\n")

    return run
