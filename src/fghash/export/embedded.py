"""Codes in engines that run within a process, and in the servers of the same kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.export.database import (
    Answer,
    Target,
    Tell,
    bits_of,
    blocks,
    classes_of,
    most_significant_first,
    reason,
)
from fghash.files import replacing
from fghash.optional import import_package
from fghash.search.coded_items import CodedItems


class Milvus(Target):
    """A collection of ``id``, ``class`` and ``code`` with a flat binary index, in Milvus or Milvus Lite."""

    bit_order = "most significant bit first"

    def write(self, items: CodedItems, tell: Tell) -> str:
        """Into a new collection."""
        milvus = import_package("pymilvus", "--to milvus", "databases")
        try:
            return self._write(milvus, items, tell)
        except milvus.MilvusException as error:
            raise InputError(f"milvus: {reason(error)}") from error

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
        for block in blocks(len(items)):
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
            raise InputError(f"--uri: no Milvus at '{self.place.address}' ({reason(error)})") from error


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
        for block in blocks(len(items)):
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
                raise InputError(f"--uri: no Qdrant at '{address}' ({reason(error)})") from error
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
            for block in blocks(len(items)):
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
        for block in blocks(len(items)):
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
