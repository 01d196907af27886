"""Codes in PostgreSQL with pgvector: type ``bit``, Hamming distance, HNSW."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fghash.codes import BinaryCodes
from fghash.errors import InputError
from fghash.export.database import Answer, Target, Tell, bit_text, bits_of, blocks, classes_of, reason
from fghash.optional import import_package
from fghash.search.coded_items import CodedItems

EXTENSION = "vector"  # pgvector's name in PostgreSQL


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
                    for block in blocks(len(items)):
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
                f"--dsn: no PostgreSQL there ({reason(error)}): is the server running?"
            ) from error
        except driver.Error as error:
            raise InputError(f"pgvector: {reason(error)}") from error

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
