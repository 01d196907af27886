"""Codes in other engines: the same neighbours, bits where they are said to lie, and clear refusals.

PostgreSQL is started from its programs where they are installed with pgvector; embedded engines where their
packages are.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fghash.cli import main
from fghash.codes import BinaryCodes, RealCodes
from fghash.errors import InputError
from fghash.export.database import Place, bit_text, most_significant_first
from fghash.export.databases import agreement, target
from fghash.search.coded_items import CodedItems, save_items

EMBEDDED = {
    "milvus": ("pymilvus", "milvus_lite"), "qdrant": ("qdrant_client",), "lancedb": ("lancedb",),
    "sqlite": ("sqlite_vec",), "usearch": ("usearch",),
}  # fmt: skip


def items_of(bits=12, n=300, seed=0):
    random = np.random.default_rng(seed)
    codes = BinaryCodes(random.random((n, bits)) < 0.5)
    ids = np.array([f"a/ü {i}.jpg" for i in range(n)])
    return CodedItems(codes, ids, np.arange(n) % 3, None, {"class_names": ["x", "y", "it's"]})


def require(name):
    for package in EMBEDDED[name]:
        pytest.importorskip(package)
    if name == "sqlite":
        import sqlite3

        if not hasattr(sqlite3.Connection, "enable_load_extension"):
            pytest.importorskip("pysqlite3")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_engines_have_our_neighbours(name, tmp_path):
    require(name)
    items, told = items_of(), []
    engine = target(name, Place(str(tmp_path / f"{name}.db")))
    engine.write(items, told.append)
    assert sum(told) == len(items)
    queries = items.codes.take(slice(0, 20))
    found = agreement(engine.search(queries, 10), items, queries, 10)
    assert found.same == found.queries == 20


# A code that no reversal of bits or bytes leaves as it is, and what its engine must hold.
ASYMMETRIC = BinaryCodes.from_values([[1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]])


def test_how_bits_lie():
    assert bit_text(ASYMMETRIC.bits[0]) == "110100001000"
    assert most_significant_first(ASYMMETRIC).tolist() == [[0b11010000, 0b10000000]]
    assert ASYMMETRIC.packed().tolist() == [[0b00001011, 0b00000001]]


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_bits_lie_in_the_engine_as_it_is_said(name, tmp_path):
    require(name)
    path = tmp_path / f"{name}.db"
    engine = target(name, Place(str(path)))
    engine.write(CodedItems(ASYMMETRIC, np.array(["one"])), lambda count: None)
    most, least = [0b11010000, 0b10000000], [0b00001011, 0b00000001]
    if name == "sqlite":
        connection = engine._connection(path)
        assert list(connection.execute("SELECT code FROM codes").fetchone()[0]) == least
    elif name == "lancedb":
        import lancedb

        assert lancedb.connect(str(path)).open_table("codes").to_arrow()["code"][0].as_py() == most
    elif name == "usearch":
        from usearch.index import Index

        assert np.asarray(Index.restore(str(path)).get(0)).view(np.uint8).ravel().tolist() == most
    elif name == "qdrant":
        (point,) = engine._client().retrieve("codes", [0], with_vectors=True)
        assert [int(value) for value in point.vector] == ASYMMETRIC.bits[0].astype(int).tolist()
    elif name == "milvus":
        client = engine._client()
        row = client.query("codes", filter='id == "one"', output_fields=["code"])[0]["code"]
        row = row[0] if isinstance(row, list) else row
        assert list(row) == most


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_is_there_is_not_replaced_unless_asked(name, tmp_path):
    require(name)
    place = str(tmp_path / f"{name}.db")
    target(name, Place(place)).write(items_of(n=20), lambda count: None)
    with pytest.raises(InputError, match="is there already"):
        target(name, Place(place)).write(items_of(n=20), lambda count: None)
    if name not in ("milvus", "qdrant"):  # these hold their files until the process ends
        target(name, Place(place, replace=True)).write(items_of(n=30), lambda count: None)


def test_agreement_sees_a_wrong_answer():
    items = items_of(n=50)
    queries = items.codes.take([0, 1])
    right = [
        [(str(items.ids[i]), float((items.codes.bits[i] ^ query).sum())) for i in range(50)]
        for query in queries.bits
    ]
    right = [sorted(row, key=lambda pair: pair[1])[:5] for row in right]
    assert agreement(right, items, queries, 5).same == 2
    wrong = [[("a/ü 49.jpg", right[0][0][1]), *right[0][1:]], right[1]]
    assert agreement(wrong, items, queries, 5).same == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "oracle", "--out", "x"], "expected one of pgvector"),
        (["--to", "pgvector", "--out", "x"], "expected --dsn"),
        (["--to", "sqlite"], "no place, expected --out"),
        (["--to", "parquet", "--out", "x.csv"], "ends in .parquet"),
        (["--to", "sqlite", "--out", "nowhere/x.db"], "no folder"),
        (["--to", "sqlite", "--out", "x.db", "--table", "a; drop"], "letters, digits"),
        (["--to", "pgvector", "--dsn", "postgresql://me:secret@127.0.0.1:1/x"], "no PostgreSQL there"),
    ],
)
def test_refusals(words, said, tmp_path, monkeypatch, capsys):
    if "sqlite" in words:
        require("sqlite")
    if "--dsn" in words:
        pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    save_items(Path("c.npz"), items_of(n=5))
    assert main(["export-codes", "c.npz", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "secret" not in err


def test_real_codes_are_for_tables_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_items(Path("c.npz"), CodedItems(RealCodes(np.eye(3)), np.array(["a", "b", "c"])))
    assert main(["export-codes", "c.npz", "--to", "sqlite", "--out", "x.db"]) == 2
    assert "expected binary codes" in capsys.readouterr().err
    pytest.importorskip("pyarrow")
    assert main(["export-codes", "c.npz", "--to", "parquet", "--out", "x.parquet"]) == 0


# -- PostgreSQL ----------------------------------------------------------------------------------------------


def _programs():
    """The folder of a server's programs, with pgvector beside it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    for each in reversed(found):
        version = each.parents[1].name
        if Path(f"/usr/share/postgresql/{version}/extension/vector.control").is_file():
            return each.parent
    return None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A PostgreSQL of its own on a free port of the loopback: its address without the database's name."""
    pytest.importorskip("psycopg")
    programs = _programs()
    if programs is None or sys.platform != "linux":
        pytest.skip("no PostgreSQL with pgvector is installed")
    folder = tmp_path_factory.mktemp("postgres")
    user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("no account that PostgreSQL could run under")
        folder = Path("/tmp") / f"fghash-postgres-{os.getpid()}"  # noqa: S108, where that account may go
        folder.mkdir(mode=0o700)
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **user}
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "tester"], check=True, **quiet)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    start = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
    subprocess.run(start, check=True, **quiet)
    yield f"postgresql://tester@127.0.0.1:{port}"
    subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, **quiet)
    if user:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("bits", [12, 64])
def test_postgresql_has_our_neighbours(server, bits):
    items = items_of(bits, 2000)
    engine = target("pgvector", Place(f"{server}/postgres", f"t{bits}", True))
    engine.write(items, lambda count: None)
    queries = items.codes.take(slice(0, 15))
    found = agreement(engine.search(queries, 10), items, queries, 10)
    assert found.same == 15
    assert len(engine.by_graph(queries, 10)[0]) == 10
    import psycopg

    with psycopg.connect(f"{server}/postgres") as connection:
        text = f"SELECT id, class, code::text FROM t{bits} WHERE id = %s"  # noqa: S608, a number
        row = connection.execute(text, ("a/ü 2.jpg",)).fetchone()
    assert row == ("a/ü 2.jpg", "it's", bit_text(items.codes.bits[2]))


@pytest.mark.xdist_group("postgres")
def test_a_table_is_not_replaced_and_any_name_is_a_name(server, tmp_path, capsys):
    save_items(tmp_path / "c.npz", items_of(n=50))
    words = ["export-codes", str(tmp_path / "c.npz"), "--to", "pgvector", "--dsn", f"{server}/postgres"]
    name = ["--table", 'x"; DROP TABLE y; --']
    assert main([*words, *name, "--check", "5"]) == 0
    assert "5 of 5 queries have our top 10" in capsys.readouterr().out
    assert main([*words, *name]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*words, *name, "--force"]) == 0


@pytest.mark.xdist_group("postgres")
def test_a_server_without_the_extension_or_the_right_is_told(server, tmp_path, capsys, monkeypatch):
    import psycopg

    save_items(tmp_path / "c.npz", items_of(n=5))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain")
        connection.execute("CREATE USER nobody_special")
    address = f"{server}/plain".replace("tester", "nobody_special")
    assert main(["export-codes", str(tmp_path / "c.npz"), "--to", "pgvector", "--dsn", address]) == 2
    assert "expected a superuser" in capsys.readouterr().err
    from fghash.export import postgresql

    monkeypatch.setattr(postgresql, "EXTENSION", "no_such_extension")
    assert (
        main(["export-codes", str(tmp_path / "c.npz"), "--to", "pgvector", "--dsn", f"{server}/plain"]) == 2
    )
    assert "lacks the extension" in capsys.readouterr().err
    assert (
        main(["export-codes", str(tmp_path / "c.npz"), "--to", "pgvector", "--dsn", f"{server}/nowhere"]) == 2
    )
    assert "nowhere" in capsys.readouterr().err
