"""What the process says and returns, whatever happens below."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import pytest

import fghash
from fghash.cli import main
from fghash.cli.entry import COMMANDS
from fghash.errors import InputError

FIT = ["fit", "--method", "hashnet", "--gpus", "0"]


def raising(error: BaseException) -> Any:
    def answer() -> NoReturn:
        raise error

    return answer


def ending(pipeline: Any, capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    pipeline.answer = raising(error)
    return main(FIT), capsys.readouterr().err


def test_help_fits_a_screen_and_names_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 24 + len(COMMANDS)
    assert max(map(len, out.splitlines())) <= 120
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in out
        assert command.summary in out
    assert "exit status: 0" in out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"fghash {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fghash {fghash.__version__}\n"


def test_a_run_without_records_is_shown_by_another_process(pipeline: Any) -> None:
    pipeline.answer = lambda: None
    assert main(FIT) == 0


def test_bad_input_from_below(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(pipeline, capsys, InputError("a.jpg: truncated")) == (
        2,
        "fghash: error: a.jpg: truncated\n",
    )


def test_bad_input_through_a_loading_process(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n    raise InputError("InputError: no")\n'
        "fghash.errors.InputError: a.jpg: truncated\n"
    )
    assert ending(pipeline, capsys, InputError(text)) == (2, "fghash: error: a.jpg: truncated\n")


def test_the_disk_is_full(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "runs/x.npz")
    assert ending(pipeline, capsys, error) == (2, "fghash: error: runs/x.npz: No space left on device\n")


def test_an_interrupt(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, err = ending(pipeline, capsys, KeyboardInterrupt())
    assert status == 130
    assert err == "\nfghash: interrupted; the same command resumes from the last checkpoint\n"


def test_an_interrupt_that_lightning_turned_into_an_exit(
    pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer() -> NoReturn:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904  # as Lightning does

    pipeline.answer = answer
    assert main(FIT) == 130
    assert "resumes" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(pipeline: Any) -> None:
    pipeline.answer = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(FIT)
