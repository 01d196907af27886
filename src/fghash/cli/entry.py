"""The entry point: which command, and what becomes of its errors."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fghash import __version__
from fghash.display import harmless
from fghash.errors import InputError, Stopped
from fghash.registry import Entry, look_up


@dataclass(frozen=True)
class Command(Entry):
    """A command: ``target`` is a function of the arguments after its name that gives the exit status."""

    example: str = ""


COMMANDS = {
    "fit": Command(
        "fghash.cli.fit_command:run",
        "train a method, encode, evaluate, store, and rewrite the leaderboard",
        example="fghash fit --method hashnet --data synthetic --bits 32 --gpus 0",
    ),
    "features": Command(
        "fghash.cli.features_command:run",
        "compute what a frozen backbone gives, once for all later runs",
        example="fghash features --data synthetic --data.features cache --backbone test_resnet --gpus 0",
    ),
    "tune": Command(
        "fghash.cli.tune_command:run",
        "look for a method's settings on a validation part of train, with equal budgets",
        example="fghash tune --method hashnet --data synthetic --data.validation 0.2 --trials 20 --gpus 0",
    ),
    "bench": Command(
        "fghash.cli.bench_command:run",
        "run every cell of a table that is not done yet, and write its leaderboard",
        example="fghash bench experiments/tables/smoke.yaml --runs runs",
    ),
    "evaluate": Command(
        "fghash.cli.evaluate_command:run",
        "score stored codes of any code base, or score a stored run anew",
        example="fghash evaluate --gallery g.npz --queries q.npz --cutoffs 1 10 100 --json out.json",
    ),
    "compare": Command(
        "fghash.cli.compare_command:run",
        "test two stored runs against each other, query by query",
        example="fghash compare runs/synthetic/hashnet/32/ID runs/synthetic/phpq/32/ID",
    ),
    "leaderboard": Command(
        "fghash.cli.leaderboard_command:run",
        "write the table of all stored runs",
        example="fghash leaderboard --runs runs --out leaderboard.csv",
    ),
    "report": Command(
        "fghash.cli.report_command:run",
        "write one HTML page to look at: leaderboard, curves, costs, classes, galleries",
        example="fghash report --runs runs --out report",
    ),
    "encode": Command(
        "fghash.cli.encode_command:run",
        "encode any images with a stored run: folders, lists, shards; resumable",
        example="fghash encode runs/synthetic/phpq/32/ID photos --out codes.npz",
    ),
    "index": Command(
        "fghash.cli.index_command:run",
        "make an index of a run's gallery or of codes; add, remove, check",
        example="fghash index runs/synthetic/phpq/32/ID --out birds",
    ),
    "search": Command(
        "fghash.cli.search_command:run",
        "find the nearest items of an index for images; table, JSON or contact sheet",
        example="fghash search birds query.png --top 10 --show found.html",
    ),
    "export": Command(
        "fghash.cli.export_command:run",
        "write the encoder of a run as ONNX, torch.export or a bundle, and compare codes",
        example="fghash export runs/synthetic/phpq/32/ID --format onnx --out encoder",
    ),
    "publish": Command(
        "fghash.cli.publish_command:run",
        "copy a bundle to a folder or upload it to a model hub",
        example="fghash publish bundle hf://me/birds-phpq-32",
    ),
    "export-codes": Command(
        "fghash.cli.export_codes_command:run",
        "put codes into PostgreSQL with pgvector, Milvus, Qdrant, SQLite or tables",
        example="fghash export-codes index --to pgvector --dsn postgresql://me@127.0.0.1/birds",
    ),
    "demo": Command(
        "fghash.cli.demo_command:run",
        "serve a local page to try an index, or two side by side",
        example="fghash demo birds",
    ),
    "ann": Command(
        "fghash.cli.ann_command:run",
        "measure nearest-neighbour indexes over a stored run: recall, speed, memory",
        example="fghash ann --run runs/synthetic/hashnet/32/ID --out ann",
    ),
    "replay": Command(
        "fghash.cli.replay_command:run",
        "look into the step at which a training stopped because its loss was no number",
        example="fghash replay runs/synthetic/hashnet/32/ID",
    ),
    "runs": Command(
        "fghash.cli.runs_command:run",
        "look after a store: list its runs, verify their files, delete what is not needed",
        example="fghash runs list runs",
    ),
    "doctor": Command(
        "fghash.cli.doctor_command:run",
        "look at this machine: versions, devices, processes, disk, plug-ins, and what to do",
        example="fghash doctor --runs runs",
    ),
    "sync": Command(
        "fghash.cli.sync_command:run",
        "upload finished runs to Weights & Biases that were made offline or without it",
        example="fghash sync runs --project birds",
    ),
    "data": Command(
        "fghash.cli.data_command:run",
        "list, fetch or check data sets",
        example="fghash data prepare cub200 --root datasets/cub200",
    ),
    "new": Command(
        "fghash.cli.new_command:run",
        "write the skeleton of a package with a method or a data set of your own",
        example="fghash new method mine mine",
    ),
    "list": Command(
        "fghash.cli.list_command:run",
        "tell what each method or data set is: its paper, year and certainty",
        example="fghash list methods",
    ),
}

_HEAD = f"fghash {__version__}: fine-grained image hashing; one datamodule, one evaluator"
_FOOT = """\
fghash COMMAND --help tells a command's settings, with examples.

exit status: 0 done; 2 bad input or nothing to score (one line says what); 130 interrupted;
143 stopped by SIGTERM (138: SIGUSR1 in a job of SLURM), saved, resumes; 1 a bug
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: this process's) and give the exit status.

    0 done; 2 bad input or nothing to score; 130 interrupted; 143 stopped by SIGTERM. A bug keeps its
    traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what torch itself says to programmers
    try:
        with _own_warnings_in_a_line():
            return _run(words)
    except InputError as error:
        return _fail(_cause(str(error)))
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else _cause(str(error)))
    except KeyboardInterrupt:
        return _interrupted(words)
    except Stopped as stop:
        return _stopped(words, stop)
    except SystemExit as stop:
        # argparse leaves this way after --help, and Lightning after an interrupt
        return _interrupted(words) if isinstance(stop.__context__, KeyboardInterrupt) else _status(stop)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if words[0] == "--version":
        print(f"fghash {__version__}")
        return 0
    status = look_up(COMMANDS, words[0], "command").load()(words[1:])
    sys.stdout.flush()
    return int(status)


@contextmanager
def _own_warnings_in_a_line() -> Iterator[None]:
    """A warning of this package's own kind is for the user, who has no use for the line of code behind it."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category.__module__.startswith("fghash."):
                from fghash.settings.sources import notice

                notice(" ".join(str(message).split()))
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _help() -> str:
    commands = [f"  {name:<14}{each.summary}" for name, each in COMMANDS.items()]
    return "\n".join([_HEAD, "", *commands, "", _FOOT])


def _cause(text: str) -> str:
    """The message alone: what came through a loading process has that process's traceback before it."""
    if "Traceback (most recent call last)" not in text:
        return text
    last = text.strip().splitlines()[-1]
    return last.partition("Error: ")[2] or last


def _fail(text: str) -> int:
    print(f"fghash: error: {harmless(' '.join(text.split()))}", file=sys.stderr)
    return 2


def _interrupted(words: list[str]) -> int:
    print(f"\nfghash: interrupted{_resumes(words)}", file=sys.stderr)
    return 130


def _stopped(words: list[str], stop: Stopped) -> int:
    """A process of several that has nothing to say says nothing."""
    if stop.kept:
        name = signal.Signals(stop.number).name
        print(f"\nfghash: stopped by {name}, {stop.kept}{_resumes(words)}", file=sys.stderr)
    return 128 + stop.number


def _resumes(words: list[str]) -> str:
    if words[:1] == ["fit"]:
        return "; the same command resumes from the last checkpoint"
    if words[:1] in (["tune"], ["features"], ["bench"], ["ann"], ["encode"]):
        return "; the same command resumes"
    return "; the same command resumes the download" if words[:2] == ["data", "prepare"] else ""


def _status(stop: SystemExit) -> int:
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _reader_left() -> int:
    """Whoever read our output has gone (``fghash list methods | head -1``); nothing is wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
