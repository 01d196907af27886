"""Binary codes in other people's search engines, each with its bit order, and the same search asked of it.

============ ========================== ====================================================================
target       place                      how code bits lie there
============ ========================== ====================================================================
pgvector     ``--dsn``, ``--table``     ``bit(n)``: bit i is character i of the text ``B'0110...'``
milvus       ``--out`` or ``--uri``     ``BINARY_VECTOR``: bit i is bit 7 - i % 8 of byte i // 8 (numpy's
                                        ``packbits``: most significant bit first), zeros behind
qdrant       ``--out`` or ``--uri``     ``uint8`` vectors of 0 and 1, element i is bit i; their Manhattan
                                        distance is the Hamming distance
lancedb      ``--out``                  lists of ``uint8``: most significant bit first, zeros behind
sqlite       ``--out``                  sqlite-vec's ``bit[n]``: bit i is bit i % 8 of byte i // 8 (least
                                        significant bit first), zeros behind
usearch      ``--out``                  ``b1x8``: most significant bit first, zeros behind
============ ========================== ====================================================================

Zeros behind, in items and in queries, change no distance.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.files import replacing
from fghash.optional import import_package
from fghash.search.coded_items import CodedItems, remove_quietly
from fghash.search.index_folder import class_in_words

EXTENSION = "vector"  # pgvector's name in PostgreSQL
_ROWS = 5000  # written at a time

Tell = Callable[[int], None]
Answer = tuple[str, float]  # id and distance


@dataclass(frozen=True)
class Place:
    """Where codes go: a server's address, a file or folder of an embedded engine, and the table's name."""

    address: str
    table: str = "codes"
    replace: bool = False

    def path(self) -> Path:
        """The file or folder, which must not be there unless it is to be replaced.

        Raises:
            InputError: it is there.
        """
        path = Path(self.address)
        if path.exists():
            if not self.replace:
                raise InputError(f"--out: '{path}' is there already (--force replaces it)")
            remove_quietly(path)
        if not path.resolve().parent.is_dir():
            raise InputError(f"--out: there is no folder '{path.parent}' to write '{path.name}' in")
        return path


class Target(ABC):
    """A search engine that holds binary codes.

    Args:
        place: where.
    """

    bit_order = ""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def write(self, items: CodedItems, tell: Tell) -> str:
        """Put the items there; in words, what there is now.

        Raises:
            InputError: a package or server is missing, or something is there already.
        """

    @abstractmethod
    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """The k nearest of each query by exact search there, closest first."""

    def by_graph(self, queries: BinaryCodes, k: int) -> list[list[Answer]] | None:
        """The same by the approximate index that was built, ``None`` without one."""
        return None


def target(name: str, place: Place) -> Target:
    """The engine called ``name``."""
    if name not in TARGETS:
        raise InputError(f"--to: '{name}', expected one of {', '.join(TARGETS)}")
    return TARGETS[name](place)


def bits_of(items: CodedItems) -> BinaryCodes:
    """The codes of the items.

    Raises:
        InputError: they are not binary.
    """
    if not isinstance(items.codes, BinaryCodes):
        raise InputError(
            f"--to: codes are {type(items.codes).__name__}, expected binary codes (parquet takes any; fghash "
            "index searches codewords exactly)"
        )
    return items.codes


def classes_of(items: CodedItems) -> list[str]:
    """The class of each item in words."""
    names = tuple(str(name) for name in items.facts.get("class_names", ()))
    return [class_in_words(items.labels, names, i) for i in range(len(items))]


def most_significant_first(codes: BinaryCodes) -> NDArray[np.uint8]:
    """(n, ceil(bits / 8)) bytes as numpy packs them.

    >>> most_significant_first(BinaryCodes.from_values([[1, 0, 0, 0, 0, 0, 0, 0, 1]])).tolist()
    [[128, 128]]
    """
    return np.packbits(codes.bits, axis=1)


def bit_text(bits: NDArray[np.bool_]) -> str:
    """One code as PostgreSQL writes it.

    >>> bit_text(np.array([True, False, False]))
    '100'
    """
    return "".join("1" if bit else "0" for bit in bits)


def _blocks(n: int) -> Iterator[range]:
    return (range(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS))


class PgVector(Target):
    """A table ``(id text, class text, code bit(n))`` with an HNSW index, in PostgreSQL with pgvector."""

    bit_order = "bit i is character i of the bit string"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """In one transaction: all or nothing."""
        codes, classes = bits_of(items), classes_of(items)
        with self._connection() as connection:
            sql = import_package("psycopg.sql", "--to pgvector", "databases")
            name = sql.Identifier(self.place.table)
            with connection.transaction():
                self._require_extension(connection)
                self._require_free(connection, name)
                width = sql.Literal(codes.bits_per_item)
                columns = sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, class text, code bit({}) NOT NULL)")
                connection.execute(columns.format(name, width))
                copy = sql.SQL("COPY {} (id, class, code) FROM STDIN").format(name)
                with connection.cursor().copy(copy) as rows:
                    for block in _blocks(len(items)):
                        for i in block:
                            rows.write_row((str(items.ids[i]), classes[i] or None, bit_text(codes.bits[i])))
                        tell(len(block))
                graph = sql.SQL("CREATE INDEX ON {} USING hnsw (code bit_hamming_ops)").format(name)
                connection.execute(graph)
            connection.execute(sql.SQL("ANALYZE {}").format(name))
        return f"table {self.place.table}: {len(items):,} rows, HNSW index"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By a scan of the table."""
        return self._search(queries, k, scan=True)

    def by_graph(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By the HNSW index."""
        return self._search(queries, k, scan=False)

    def _search(self, queries: BinaryCodes, k: int, scan: bool) -> list[list[Answer]]:
        sql = import_package("psycopg.sql", "--to pgvector", "databases")
        text = sql.SQL("SELECT id, code <~> %s::bit({}) AS d FROM {} ORDER BY d LIMIT %s").format(
            sql.Literal(queries.bits_per_item), sql.Identifier(self.place.table)
        )
        with self._connection() as connection, connection.transaction():
            connection.execute(f"SET LOCAL enable_indexscan = {'off' if scan else 'on'}")
            connection.execute(f"SET LOCAL enable_seqscan = {'on' if scan else 'off'}")
            answers = (connection.execute(text, (bit_text(bits), k)).fetchall() for bits in queries.bits)
            return [[(str(name), float(distance)) for name, distance in rows] for rows in answers]

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection; what the server says is one line without the password of the address."""
        driver = import_package("psycopg", "--to pgvector", "databases")
        try:
            with driver.connect(self.place.address, connect_timeout=10) as connection:
                yield connection
        except driver.OperationalError as error:
            raise InputError(
                f"--dsn: no PostgreSQL there ({_reason(error)}): is the server running?"
            ) from error
        except driver.Error as error:
            raise InputError(f"pgvector: {_reason(error)}") from error

    def _require_extension(self, connection: Any) -> None:
        driver = import_package("psycopg", "--to pgvector", "databases")
        found = "SELECT 1 FROM pg_available_extensions WHERE name = %s"
        if connection.execute(found, (EXTENSION,)).fetchone() is None:
            raise InputError(
                "pgvector: this server lacks the extension 'vector', expected one with pgvector (its "
                "package postgresql-<version>-pgvector)"
            )
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except driver.errors.InsufficientPrivilege as error:
            raise InputError(
                "pgvector: the extension 'vector' is not switched on and this user may not do it, expected a "
                "superuser to run CREATE EXTENSION vector"
            ) from error

    def _require_free(self, connection: Any, name: Any) -> None:
        sql = import_package("psycopg.sql", "--to pgvector", "databases")
        found = "SELECT 1 FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid)"
        if connection.execute(found, (self.place.table,)).fetchone() is None:
            return
        if not self.place.replace:
            raise InputError(f"--table: '{self.place.table}' is there already (--force replaces it)")
        connection.execute(sql.SQL("DROP TABLE {}").format(name))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class Milvus(Target):
    """A collection of ``id``, ``class`` and ``code`` with a flat binary index, in Milvus or Milvus Lite."""

    bit_order = "most significant bit first"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new collection."""
        milvus = import_package("pymilvus", "--to milvus", "databases")
        try:
            return self._write(milvus, items, tell)
        except milvus.MilvusException as error:
            raise InputError(f"milvus: {_reason(error)}") from error

    def _write(self, milvus: Any, items: CodedItems, tell: Tell) -> str:
        packed, classes = most_significant_first(bits_of(items)), classes_of(items)
        if "://" not in self.place.address:
            self.place.path()
        client = self._client()
        if client.has_collection(self.place.table):
            if not self.place.replace:
                raise InputError(f"--table: '{self.place.table}' is there already (--force replaces it)")
            client.drop_collection(self.place.table)
        longest = max(len(str(name).encode()) for name in items.ids)
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", milvus.DataType.VARCHAR, is_primary=True, max_length=max(longest, 1))
        schema.add_field("class", milvus.DataType.VARCHAR, max_length=1000)
        schema.add_field("code", milvus.DataType.BINARY_VECTOR, dim=8 * packed.shape[1])
        index = client.prepare_index_params()
        index.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
        client.create_collection(self.place.table, schema=schema, index_params=index)
        for block in _blocks(len(items)):
            rows = [
                {"id": str(items.ids[i]), "class": classes[i][:250], "code": packed[i].tobytes()}
                for i in block
            ]
            client.insert(self.place.table, rows)
            tell(len(block))
        client.flush(self.place.table)
        client.close()
        return f"collection {self.place.table}: {len(items):,} rows"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By the flat index."""
        client = self._client()
        client.load_collection(self.place.table)
        data = [row.tobytes() for row in most_significant_first(queries)]
        found = client.search(self.place.table, data, limit=k, search_params={"metric_type": "HAMMING"})
        client.close()
        return [[(str(hit["id"]), float(hit["distance"])) for hit in hits] for hits in found]

    def _client(self) -> Any:
        milvus = import_package("pymilvus", "--to milvus", "databases")
        if "://" not in self.place.address:
            import_package("milvus_lite", "--to milvus", "databases")
        try:
            return milvus.MilvusClient(uri=self.place.address)
        except Exception as error:  # pymilvus raises several kinds
            raise InputError(f"--uri: no Milvus at '{self.place.address}' ({_reason(error)})") from error


class Qdrant(Target):
    """A collection of ``uint8`` vectors of 0 and 1, with ``id`` and ``class`` as payload."""

    bit_order = "element i is bit i"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new collection; numbers are the ids of points, as Qdrant takes no texts."""
        codes, classes = bits_of(items), classes_of(items)
        models = import_package("qdrant_client.models", "--to qdrant", "databases")
        if "://" not in self.place.address and self.place.address != ":memory:":
            self.place.path()
        client = self._client()
        if client.collection_exists(self.place.table):
            if not self.place.replace:
                raise InputError(f"--table: '{self.place.table}' is there already (--force replaces it)")
            client.delete_collection(self.place.table)
        vectors = models.VectorParams(
            size=codes.bits_per_item, distance=models.Distance.MANHATTAN, datatype=models.Datatype.UINT8
        )
        client.create_collection(self.place.table, vectors_config=vectors)
        for block in _blocks(len(items)):
            points = models.Batch(
                ids=list(block),
                vectors=codes.bits[block.start : block.stop].astype(np.uint8).tolist(),
                payloads=[{"id": str(items.ids[i]), "class": classes[i]} for i in block],
            )
            client.upsert(self.place.table, points, wait=True)
            tell(len(block))
        return f"collection {self.place.table}: {len(items):,} points"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By exact search."""
        models = import_package("qdrant_client.models", "--to qdrant", "databases")
        client = self._client()
        on_server = "://" in self.place.address  # an embedded one has no other search
        settings = {"search_params": models.SearchParams(exact=True)} if on_server else {}
        found = []
        for bits in queries.bits:
            query = bits.astype(np.float32).tolist()
            answer = client.query_points(self.place.table, query=query, limit=k, **settings)
            found.append([(str(point.payload["id"]), float(point.score)) for point in answer.points])
        return found

    def _client(self) -> Any:
        qdrant = import_package("qdrant_client", "--to qdrant", "databases")
        if not hasattr(self, "_opened"):
            address = self.place.address
            try:
                if "://" in address:
                    self._opened = qdrant.QdrantClient(url=address)
                    self._opened.get_collections()
                elif address == ":memory:":
                    self._opened = qdrant.QdrantClient(address)
                else:
                    self._opened = qdrant.QdrantClient(path=address)
            except Exception as error:  # the client raises several kinds
                raise InputError(f"--uri: no Qdrant at '{address}' ({_reason(error)})") from error
        return self._opened


class LanceDb(Target):
    """A LanceDB table of ``id``, ``class`` and ``code``."""

    bit_order = "most significant bit first"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new database folder."""
        packed, classes = most_significant_first(bits_of(items)), classes_of(items)
        pa = import_package("pyarrow", "--to lancedb", "databases")
        lancedb = import_package("lancedb", "--to lancedb", "databases")
        path = self.place.path()
        code = pa.FixedSizeListArray.from_arrays(pa.array(packed.reshape(-1)), packed.shape[1])
        ids = pa.array([str(name) for name in items.ids])
        table = pa.table({"id": ids, "class": pa.array(classes), "code": code})
        lancedb.connect(str(path)).create_table(self.place.table, table)
        tell(len(items))
        return f"table {self.place.table}: {len(items):,} rows"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By a scan."""
        lancedb = import_package("lancedb", "--to lancedb", "databases")
        table = lancedb.connect(self.place.address).open_table(self.place.table)
        found = []
        for row in most_significant_first(queries):
            asked = table.search(row, vector_column_name="code").distance_type("hamming").limit(k)
            found.append([(each["id"], float(each["_distance"])) for each in asked.to_list()])
        return found


class Sqlite(Target):
    """A file of SQLite with sqlite-vec: a virtual table of codes and a table of ids."""

    bit_order = "least significant bit first"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new file, whole or not at all."""
        packed, classes = bits_of(items).packed(), classes_of(items)
        name = _plain_name(self.place.table)
        with replacing(self.place.path(), "--out") as temporary:
            connection = self._connection(temporary)
            connection.execute(f"CREATE VIRTUAL TABLE {name} USING vec0(code bit[{8 * packed.shape[1]}])")
            connection.execute(f"CREATE TABLE {name}_items (rowid INTEGER PRIMARY KEY, id TEXT, class TEXT)")
            for block in _blocks(len(items)):
                rows = [(i, str(items.ids[i]), classes[i]) for i in block]
                connection.executemany(f"INSERT INTO {name}_items VALUES (?, ?, ?)", rows)  # noqa: S608, a plain name
                codes = [(i, packed[i].tobytes()) for i in block]
                connection.executemany(f"INSERT INTO {name} (rowid, code) VALUES (?, vec_bit(?))", codes)  # noqa: S608
                tell(len(block))
            connection.commit()
            connection.close()
        return f"tables {name} and {name}_items: {len(items):,} rows"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By sqlite-vec's scan."""
        name = _plain_name(self.place.table)
        connection = self._connection(Path(self.place.address))
        text = (
            f"SELECT i.id, c.distance FROM {name} c JOIN {name}_items i ON i.rowid = c.rowid "  # noqa: S608
            "WHERE c.code MATCH vec_bit(?) AND k = ? ORDER BY c.distance"
        )
        found = [connection.execute(text, (row.tobytes(), k)).fetchall() for row in queries.packed()]
        connection.close()
        return [[(str(name), float(distance)) for name, distance in rows] for rows in found]

    def _connection(self, path: Path) -> Any:
        extension = import_package("sqlite_vec", "--to sqlite", "databases")
        connection = _sqlite().connect(str(path))
        connection.enable_load_extension(True)
        extension.load(connection)
        connection.enable_load_extension(False)
        return connection


def _sqlite() -> Any:
    """A sqlite3 that loads extensions: Python's own, or the package pysqlite3 (some Pythons' cannot)."""
    import sqlite3

    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    return import_package("pysqlite3", "--to sqlite, where Python's sqlite3 loads no extensions", "databases")


def _plain_name(table: str) -> str:
    if not table.isidentifier() or not table.isascii():
        raise InputError(f"--table: '{table}', expected letters, digits and underscores")
    return table


class USearch(Target):
    """An HNSW index of USearch over bits, and the ids beside it as JSON."""

    bit_order = "most significant bit first"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new file and ``<file>.ids.json``."""
        packed = most_significant_first(bits_of(items))
        usearch = import_package("usearch.index", "--to usearch", "databases")
        path = self.place.path()
        kinds = {"metric": usearch.MetricKind.Hamming, "dtype": usearch.ScalarKind.B1}
        index = usearch.Index(ndim=8 * packed.shape[1], **kinds)
        for block in _blocks(len(items)):
            index.add(np.array(block), packed[block.start : block.stop])
            tell(len(block))
        with replacing(path, "--out") as temporary:
            index.save(str(temporary))
        with replacing(self._ids(), "--out") as temporary:
            temporary.write_text(json.dumps([str(name) for name in items.ids]), encoding="utf-8")
        return f"{len(items):,} items, ids in {self._ids().name}"

    def search(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By USearch's exact search."""
        return self._search(queries, k, exact=True)

    def by_graph(self, queries: BinaryCodes, k: int) -> list[list[Answer]]:
        """By its graph."""
        return self._search(queries, k, exact=False)

    def _search(self, queries: BinaryCodes, k: int, exact: bool) -> list[list[Answer]]:
        usearch = import_package("usearch.index", "--to usearch", "databases")
        index = usearch.Index.restore(self.place.address)
        ids = json.loads(self._ids().read_text(encoding="utf-8"))
        found = []
        for row in most_significant_first(queries):
            answer = index.search(row, k, exact=exact)
            pairs = zip(answer.keys.tolist(), answer.distances.tolist(), strict=True)
            found.append([(ids[key], float(distance)) for key, distance in pairs])
        return found

    def _ids(self) -> Path:
        return Path(f"{self.place.address}.ids.json")


TARGETS: dict[str, type[Target]] = {
    "pgvector": PgVector,
    "milvus": Milvus,
    "qdrant": Qdrant,
    "lancedb": LanceDb,
    "sqlite": Sqlite,
    "usearch": USearch,
}


@dataclass(frozen=True)
class Agreement:
    """How answers of another engine compare with ours.

    ``same``: queries whose distances are all the same and whose ids are, up to ties at the last distance.
    """

    queries: int
    same: int


def agreement(
    theirs: Sequence[Sequence[Answer]], items: CodedItems, queries: BinaryCodes, k: int
) -> Agreement:
    """Compare with an exact search of ours."""
    from fghash.search.engines import build_engine

    codes = bits_of(items)
    positions, distances = build_engine(codes, "flat").search(queries, min(k, len(codes)))
    same = 0
    for row, gaps, answers in zip(positions, distances, theirs, strict=True):
        last = gaps[-1]
        sure = {str(items.ids[i]) for i, gap in zip(row, gaps, strict=True) if gap < last}
        found = {name for name, gap in answers if gap < last}
        equal = [float(gap) for gap in gaps] == sorted(gap for _, gap in answers)
        same += int(equal and sure == found)
    return Agreement(len(queries), same)
