"""Cells beyond one machine: what travels, what comes back, and what is said where nobody answers.

``FGHASH_CLUSTERS=1`` also runs a table on a Ray cluster of this machine, a node of which is killed.
"""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time

import pandas as pd
import pytest

from fghash.bench.portable import portable
from fghash.bench.ray_cluster import packed_run, unpack_run
from fghash.bench.slurm_arrays import SlurmArrays
from fghash.cli import main
from fghash.errors import InputError
from fghash.store import RunFolder
from store_fixtures import make_record, store

TABLE = """\
common:
  data: {name: synthetic, image_size: 32, families: 2, train_images: 16, query_images: 8}
  trainer: {max_epochs: 2}
  batch_size: 8
  checkpoint_minutes: 0
axes: {method: [hashnet, classify], bits: [8, 16]}
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(TABLE)
    return path


def test_paths_that_are_here_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cub").mkdir()
    job = {
        "id": "x",
        "settings": {
            "data": {"name": "cub200", "root": "cub", "cache": "ram"},
            "backbone": {"weights": "pretrained"},
            "preset": "default",
        },
    }
    there = portable(job, gpus=1)
    assert there["settings"]["data"] == {"name": "cub200", "root": str(tmp_path / "cub"), "cache": "ram"}
    assert there["settings"]["backbone"] == {"weights": "pretrained"}
    assert (there["settings"]["preset"], there["settings"]["gpus"], there["processes"]) == ("default", 1, 1)
    assert job["settings"]["data"]["root"] == "cub"


def test_a_run_comes_back_whole(tmp_path):
    record = make_record()
    store(tmp_path / "there", record)
    run = f"synthetic/hashnet/32/{record.run}"
    content = packed_run(tmp_path / "there" / run)
    unpack_run(content, tmp_path / "here", run)
    assert RunFolder(tmp_path / "here" / run).records() == [record]
    unpack_run(b"nothing", tmp_path / "here", run)  # it is there already
    assert not list((tmp_path / "here" / ".bench").iterdir())


def test_what_comes_back_cannot_leave_the_store(tmp_path):
    with pytest.raises(InputError, match="not below the store"):
        unpack_run(b"", tmp_path / "here", "../elsewhere")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("../../../escaped")
        archive.addfile(entry)
    with pytest.raises(InputError, match="came back damaged"):
        unpack_run(content.getvalue(), tmp_path / "here", "a/b/8/c")
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "here" / "a" / "b" / "8" / "c").exists()


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("nonsense", "--cluster: 'nonsense', expected auto, HOST:PORT"),
        ("127.0.0.1:1", "--cluster: nobody answers at '127.0.0.1:1'"),
    ],
)
def test_no_such_ray_cluster(table, tmp_path, capsys, where, line):
    pytest.importorskip("ray", reason="no ray")
    assert main(["bench", str(table), "--runs", str(tmp_path / "runs"), "--cluster", where]) == 2
    assert line in capsys.readouterr().err


def test_no_slurm(table, tmp_path, capsys, monkeypatch):
    pytest.importorskip("submitit", reason="no submitit")
    monkeypatch.setenv("PATH", "")
    assert main(["bench", str(table), "--runs", str(tmp_path / "runs"), "--cluster", "slurm"]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err


def test_an_unknown_parameter_of_slurm(tmp_path):
    pytest.importorskip("submitit", reason="no submitit")
    with pytest.raises(InputError, match=r"--slurm: .*bogus"):
        SlurmArrays(tmp_path, 1, 0, {"bogus": 1}, "local")


def scores(runs):
    from fghash.report import leaderboard

    return leaderboard(runs).drop(columns=["train_seconds"])


needs_time = pytest.mark.skipif(not os.environ.get("FGHASH_CLUSTERS"), reason="FGHASH_CLUSTERS=1 runs it")


def bench(table, runs, *words):
    code = "import sys; from fghash.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, "bench", str(table), "--runs", str(runs), *words]


@needs_time
def test_submitit_gives_the_same_leaderboard(table, tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="no submitit")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    subprocess.run(bench(table, tmp_path / "one", "--gpus", "0"), check=True)
    subprocess.run(bench(table, tmp_path / "jobs", "--cluster", "local-jobs", "--jobs", "2"), check=True)
    pd.testing.assert_frame_equal(scores(tmp_path / "jobs"), scores(tmp_path / "one"), check_exact=True)


@needs_time
def test_a_lost_node_changes_nothing(table, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="no ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    subprocess.run(bench(table, tmp_path / "one", "--gpus", "0"), check=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    running = subprocess.Popen(bench(table, tmp_path / "ray", "--cluster", cluster.address))
    time.sleep(20)
    cluster.remove_node(nodes[0], allow_graceful=False)
    try:
        assert running.wait(180) == 0
    finally:
        running.send_signal(signal.SIGKILL)
        cluster.shutdown()
    pd.testing.assert_frame_equal(scores(tmp_path / "ray"), scores(tmp_path / "one"), check_exact=True)
