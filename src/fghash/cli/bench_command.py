"""``fghash bench``: a whole table, resumed after anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fghash.errors import InputError
from fghash.registry import nearest
from fghash.settings.flags import SECTIONS, SINGLE, read_flags
from fghash.settings.numbers import whole
from fghash.settings.sources import notice

if TYPE_CHECKING:
    from fghash.bench.plan import Plan
    from fghash.bench.workers import Executor

HELP = """\
Run every cell of a table (methods x data x backbone x bits x seeds x presets) that is not done yet, and write
its leaderboard as CSV, Markdown, LaTeX and HTML. The same command goes on after any interruption; a cell that
fails is named, and the others are run.

  fghash bench experiments/tables/smoke.yaml --runs runs

  --dry_run            only print the plan: cells, what is done, about how long the rest takes
  --status             the same, of a table that is running elsewhere
  --retry_failed       run cells again that failed before
  --jobs N             cells at once on this machine (default 1; with GPUs one each)
  --cluster WHERE      auto or HOST:PORT of a Ray cluster; slurm (arrays through submitit), or local-jobs, the
                       same on this machine; needs pip install 'fghash[cluster]'
  --cell_cpus N        cores that a cell asks a cluster for (default 1); GPUs as --gpus says
  --slurm.KEY VALUE    submitit's parameters, as --slurm.slurm_partition gpu --slurm.timeout_min 600
  --out DIR            where the leaderboard goes (default RUNS/tables/TABLE)
  --runs DIR           folder of the store (default runs)
  and everything that fghash fit takes, for all cells

a table file:
  # a comment that says what it reproduces and how long it takes
  common: {data: synthetic, trainer: {max_epochs: 2}}
  axes:
    method: [hashnet, phpq]
    bits: [16, 32]
    seed: [0, 1]
  rows:                                # instead of an axis, or multiplied with them
    - method: {name: phpq, levels: [4]}
  exclude:
    - {method: [dpq, phpq], bits: [12]}
"""

_OWN = ("jobs", "cluster", "cell_cpus", "slurm", "out")
_SWITCHES = ("--dry_run", "--status", "--retry_failed")


@dataclass(frozen=True)
class _Request:
    """What was asked: the plan, what to do with it, where cells run and where the leaderboard goes."""

    plan: Plan
    only_tell: bool
    jobs: int
    cluster: Cluster
    out: Path


@dataclass(frozen=True)
class Cluster:
    """Where cells run beyond this process's workers: nowhere (empty), and what each asks for there."""

    where: str
    cpus: int
    gpus: int
    slurm: Mapping[str, Any]


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash bench ARGV``; the exit status."""
    if not argv or {"-h", "--help"} & {*argv}:
        print(HELP, end="")
        return 0
    request = _request(argv)
    return _tell(request.plan) if request.only_tell else _bench(request)


def _request(argv: Sequence[str]) -> _Request:
    from fghash.bench.ledger import Ledger
    from fghash.bench.plan import Plan
    from fghash.bench.table import read_table

    switches = {word for word in argv if word in _SWITCHES}
    path, words = _split([word for word in argv if word not in _SWITCHES])
    _require_known(words)
    flags = read_flags(words)
    if flags.configs or flags.print_config or "force" in flags.values:
        raise InputError("bench: takes no --config, --print_config or --force; a table has 'common' settings")
    values: dict[str, Any] = flags.values
    jobs = whole(values.pop("jobs", 1), "--jobs", 1, 256)
    cluster, out = _cluster(values), values.pop("out", None)
    runs = Path(str(values.pop("runs", "runs"))).expanduser()
    table = read_table(path, values)
    plan = Plan.of(table, Ledger(runs), retry_failed="--retry_failed" in switches)
    place = runs / "tables" / table.name if out is None else Path(str(out)).expanduser()
    return _Request(plan, bool(switches & {"--dry_run", "--status"}), jobs, cluster, place)


def _split(words: list[str]) -> tuple[Path, list[str]]:
    """The table's file, which may stand anywhere but as a flag's value, and the other words."""
    for i, word in enumerate(words):
        if not word.startswith("--") and (i == 0 or not words[i - 1].startswith("--") or "=" in words[i - 1]):
            return Path(word), words[:i] + words[i + 1 :]
    raise InputError("table: required, as fghash bench FILE.yaml")


def _require_known(words: Sequence[str]) -> None:
    """A misspelt flag of our own would else be told as a setting that lacks its value."""
    own = [*(word.removeprefix("--") for word in _SWITCHES), *_OWN]
    for word in words:
        name = word.partition("=")[0].removeprefix("--").partition(".")[0]
        if word.startswith("--") and name not in (*own, *SECTIONS, *SINGLE, "config", "print_config"):
            known = [f"--{each}" for each in (*own, *SECTIONS, *SINGLE)]
            raise InputError(f"bench: unknown option '--{name}'{nearest(f'--{name}', known)}")


def _cluster(values: dict[str, Any]) -> Cluster:
    slurm = values.pop("slurm", {})
    if not isinstance(slurm, dict):
        raise InputError(f"--slurm: has settings below it, as --slurm.timeout_min 600, got {slurm!r}")
    numbers = {key: int(value) if value.isdecimal() else value for key, value in slurm.items()}
    gpus = values.get("gpus")
    wanted = int(str(gpus)) if str(gpus).isdecimal() else 0
    cpus = whole(values.pop("cell_cpus", 1), "--cell_cpus", 1, 4096)
    where = str(values.pop("cluster", ""))
    if where:
        values.pop("gpus", None)  # the driver's machine may have none: the cells' nodes decide
    return Cluster(where, cpus, wanted, numbers)


def _tell(plan: Plan) -> int:
    from fghash.bench.live import lines
    from fghash.display import harmless

    for line in lines(plan):
        print(harmless(line))
    return 0


def _bench(request: _Request) -> int:
    from fghash.bench.driver import Driver
    from fghash.bench.live import duration, shown
    from fghash.bench.outputs import require_writable

    plan = request.plan
    require_writable(request.out)
    missing = [each for each in plan.missing() if not each.waits]
    print(f"{plan.table.name}: {len(plan.cells)} cells, {len(plan.missing())} to run", flush=True)
    if missing:
        seconds = plan.seconds(missing)
        if seconds:
            print(f"about {duration(seconds / request.jobs)} by what such cells took before", flush=True)
        with shown(plan) as show:
            Driver(plan, _executor(request), show).run()
    return _finish(request)


def _executor(request: _Request) -> Executor:
    from fghash.bench.workers import LocalWorkers

    cluster, runs = request.cluster, request.plan.ledger.runs
    if not cluster.where:
        return LocalWorkers(request.jobs)
    if cluster.where in ("slurm", "local-jobs"):
        from fghash.bench.slurm_arrays import SlurmArrays

        if cluster.where == "slurm":
            return SlurmArrays(runs, cluster.cpus, cluster.gpus, cluster.slurm)
        return SlurmArrays(runs, cluster.cpus, 0, cluster.slurm, "local", request.jobs)
    from fghash.bench.ray_cluster import RayCluster

    return RayCluster(cluster.where, runs, cluster.cpus, cluster.gpus)


def _finish(request: _Request) -> int:
    """Write the leaderboard and say what is not in it."""
    from fghash.bench.ledger import FAILED
    from fghash.bench.outputs import write_outputs
    from fghash.display import harmless

    plan = request.plan
    files = write_outputs(plan, request.out)
    print(f"leaderboard: {harmless(str(files[0]))} (also .md, .tex)\nreport: {harmless(str(files[3]))}")
    failed = [each for each in plan.cells if each.status == FAILED]
    for each in failed:
        notice(f"failed: {each.cell.shown}: {each.state.error if each.state else ''}")
    if failed:
        log = plan.ledger.log(failed[0].name)
        notice(f"{len(failed)} of {len(plan.cells)} cells failed (log: {log}); again with --retry_failed")
    return 2 if failed else 0
