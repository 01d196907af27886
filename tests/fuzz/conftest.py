"""Fuzz tests: short and seeded in `make test`; `pytest tests/fuzz --fuzz 5000` runs as many cases of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, metavar="N", help="cases of each fuzz test (a few without it)")


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Callable[[int], range]:
    """The seeds of the cases: as many as ``--fuzz`` says, else the given few."""
    return lambda few: range(request.config.getoption("--fuzz", default=None) or few)
