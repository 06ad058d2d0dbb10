"""Selection of the documents of a release, in a DuckDB database that spills to disk.

Of each address, the newest capture is selected; of each group of duplicates, the document with the best licence, then
the oldest. A document whose domain was assigned after it was gathered gets that domain and, as its content has changed,
a new version.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from baicai.wholesale.processing.licences import RANK
from baicai.wholesale.processing.minhash import DuplicateIndex
from baicai.wholesale.release.shards import DocumentLine, encode_line
from baicai.wholesale.release.warehouse import Warehouse

MEMORY = "256MB"
"""Memory limit of the database, which holds no text; the rest spills to disk."""
ROWS = 4096
"""Documents whose line positions are read at once."""
PUBLISHED_ROWS = 2**16
"""Published documents read at once."""
ASSIGNED_DOMAINS = "domains.parquet"
"""Parquet file of the documents that were assigned a domain: place (row number), id, domain, score."""
QUALITY_STEPS = (0.5, 0.7, 0.8, 0.9)
"""Lower bounds of the quality buckets above the first."""

INSERT_CANDIDATES = """
INSERT INTO candidates
SELECT
    ?, file_row_number, cluster, d.id, if(coalesce(a.domain = d.domain, true), version, md5(version || a.domain)),
    coalesce(a.domain, d.domain), d.domain, language, licence, licence_class, quality, fetched
FROM read_parquet(?, file_row_number = true) d JOIN clusters ON clusters.place = file_row_number
LEFT JOIN assigned a ON a.place = file_row_number
"""
SELECT_NEWEST = """
CREATE TABLE selected AS
WITH newest AS (
    SELECT * FROM candidates WHERE id NOT IN (SELECT id FROM taken_down)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY file DESC, place DESC) = 1
)
SELECT * FROM newest
"""
KEEP_BEST_DUPLICATE = """
QUALIFY row_number() OVER (
    PARTITION BY cluster ORDER BY CASE licence_class {ranks} END, fetched, id
) = 1
"""


class Group(NamedTuple):
    """Properties that all documents of a shard share."""

    domain: str
    language: str
    licence: str
    licence_class: str
    bucket: int
    """Index of the quality bucket."""


class Selection:
    """The documents selected for a release. Close it after use."""

    def __init__(self, warehouse: Warehouse, *, duplicates: bool) -> None:
        self._folder, spill = warehouse.folder, str(warehouse.folder / "spill")
        self._database = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill, "threads": 2})
        self._files = [str(warehouse.documents_file(gathered.task)) for gathered in warehouse.gathered_files()]
        index, model = DuplicateIndex(warehouse.duplicates), warehouse.current_domain_model()
        self._database.execute(
            "CREATE TABLE candidates (file INT, place BIGINT, cluster BIGINT, id VARCHAR, version VARCHAR, "
            "domain VARCHAR, source_domain VARCHAR, language VARCHAR, licence VARCHAR, licence_class VARCHAR, "
            "quality FLOAT, fetched TIMESTAMPTZ)"
        )
        for number, (gathered, file) in enumerate(zip(warehouse.gathered_files(), self._files, strict=True)):
            groups_N = index.groups(gathered.task)
            self._database.register("clusters", pa.table({"place": np.arange(len(groups_N)), "cluster": groups_N}))
            assigned = _assigned(warehouse.assigned_domains_folder(model, gathered.task) / ASSIGNED_DOMAINS)
            self._database.execute(f"CREATE OR REPLACE VIEW assigned AS SELECT place, domain FROM {assigned}")
            self._database.execute(INSERT_CANDIDATES, [number, file])
        taken_down = {document for takedown in warehouse.takedowns() for document in takedown.documents}
        self._database.register("taken_down", pa.table({"id": pa.array(sorted(taken_down), pa.string())}))
        ranks = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in RANK.items())
        documents = " UNION ALL ".join(
            f"SELECT {number} AS file, * FROM read_parquet({_quoted(file)}, file_row_number = true)"
            for number, file in enumerate(self._files)
        )
        self._database.execute(f"CREATE VIEW documents AS {documents}")
        self._database.execute(SELECT_NEWEST + ("" if duplicates else KEEP_BEST_DUPLICATE.format(ranks=ranks)))
        self._database.execute("DROP TABLE candidates")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the selected documents by domain, language, licence, year and tenth of quality."""
        columns = {
            **{name: name for name in ("domain", "language", "licence")},
            "year": "year(fetched)::VARCHAR",
            "quality": "format('{:.1f}', least(floor(quality * 10) / 10, 0.9))",
        }
        query = "SELECT {} AS label, count(*) FROM selected GROUP BY label"
        return {name: dict(self._database.execute(query.format(value)).fetchall()) for name, value in columns.items()}

    def compare(self, contents: Path | None) -> None:
        """Load the contents of the published release: a Parquet file with id, version, shard and frame."""
        published = (
            f"read_parquet({_quoted(contents)})"
            if contents
            else "(SELECT '' AS id, '' AS version, '' AS shard, 0 AS frame LIMIT 0)"
        )
        self._database.execute(f"CREATE VIEW published AS SELECT * FROM {published}")

    def changed_shards(self) -> set[str]:
        """Return the published shards with documents that are no longer selected in that version."""
        self._database.execute(
            "CREATE TABLE removed AS SELECT shard, frame, id FROM published ANTI JOIN selected USING (id, version)"
        )
        return {row[0] for row in self._database.execute("SELECT DISTINCT shard FROM removed").fetchall()}

    def removed_from(self, shard: str) -> dict[int, set[str]]:
        """Return the ids of the documents removed from a shard, by frame number."""
        removed: dict[int, set[str]] = {}
        query = "SELECT frame, id FROM removed WHERE shard = ?"
        for frame, document in self._database.execute(query, [shard]).fetchall():
            removed.setdefault(frame, set()).add(document)
        return removed

    def published_outside(self, shards: Iterable[str]) -> Iterator[pa.Table]:
        """Yield id, version, shard and frame of the documents in all other published shards."""
        query = "SELECT * FROM published WHERE NOT list_contains(?, shard)"
        for batch in self._database.sql(query, params=[sorted(shards)]).to_arrow_reader(PUBLISHED_ROWS):
            yield pa.Table.from_batches([batch])

    def published_in(self, shard: str) -> pa.Table:
        """Return id, version, shard and frame of the documents in a published shard."""
        return self._database.sql("SELECT * FROM published WHERE shard = ?", params=[shard]).to_arrow_table()

    def new_documents(self) -> Iterator[tuple[Group, DocumentLine]]:
        """Yield the selected documents that are not published yet, group by group, best quality first.

        Lines are written to a file in file order and read back in sorted order: sorting them inside the database would
        need memory in proportion to their number.
        """
        with tempfile.TemporaryFile(dir=self._folder) as lines:
            self._database.execute(
                "CREATE TABLE additions AS SELECT * FROM selected ANTI JOIN published USING (id, version)"
            )
            self._database.execute("CREATE TABLE lines (file INT, place BIGINT, start BIGINT, size BIGINT)")
            for number, file in enumerate(self._files):
                self._write_lines(number, file, lines)
            bucket = " + ".join(f"(quality >= {step})::INT" for step in QUALITY_STEPS)
            rows = self._database.sql(
                f"""
                SELECT domain, language, licence, licence_class, {bucket} AS bucket, id, version, quality, start, size
                FROM additions JOIN lines USING (file, place)
                ORDER BY domain, language, licence, bucket, quality DESC, id
                """
            )
            for batch in rows.to_arrow_reader(ROWS):
                for *group, document, version, quality, start, size in zip(*batch.to_pydict().values(), strict=True):
                    lines.seek(start)
                    yield Group(*group), DocumentLine(document, version, quality, lines.read(size))

    def _write_lines(self, number: int, file: str, lines: IO[bytes]) -> None:
        """Append the lines of the new documents of a file, and record their positions."""
        query = "SELECT place, domain, version FROM additions WHERE file = ? ORDER BY place"
        columns = self._database.execute(query, [number]).fetchnumpy()
        rows = np.asarray(columns["place"], np.int64)
        if not len(rows):
            return
        starts = [lines.tell()]
        for row, domain, version in zip(_read_rows(file, rows), columns["domain"], columns["version"], strict=True):
            changes = {"domain": domain, "version": version, "fetched": row["fetched"].isoformat()}
            document = row | changes | {"license": row["licence"]}  # `license` is the key that other tools read
            lines.write(encode_line(document).content)
            starts.append(lines.tell())
        positions = pa.table({"place": rows, "start": starts[:-1], "size": np.diff(starts)})
        self._database.register("positions", positions)
        self._database.execute(f"INSERT INTO lines SELECT {number}, place, start, size FROM positions")

    def source_domain_counts(self) -> dict[str, int]:
        """Count the selected documents by the domain that their source named."""
        return dict(
            self._database.execute(
                "SELECT source_domain, count(*) FROM selected GROUP BY source_domain ORDER BY source_domain"
            ).fetchall()
        )

    def sample(self, domain: str, max_documents: int, max_characters: int) -> list[str]:
        """Return the beginnings of documents whose source named a domain, in the order of their ids.

        Ids are hashes, so the first ones are a random sample that does not depend on the order of gathering.
        """
        rows = self._database.execute(
            """
            SELECT left(d.text, ?) FROM (SELECT * FROM selected WHERE source_domain = ? ORDER BY id LIMIT ?) s
            JOIN documents d ON s.file = d.file AND s.place = d.file_row_number ORDER BY s.id
            """,
            [max_characters, domain, max_documents],
        )
        return [text for (text,) in rows.fetchall()]


def _assigned(path: Path) -> str:
    """Return the SQL of the assigned domains of a file: empty if the classifier has not seen it."""
    return f"read_parquet({_quoted(path)})" if path.exists() else "(SELECT 0 AS place, '' AS domain LIMIT 0)"


def _read_rows(file: str, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield rows of a Parquet file by their sorted numbers, skipping row groups without any."""
    with pq.ParquetFile(file) as table:
        first = 0
        for number in range(table.num_row_groups):
            last = first + table.metadata.row_group(number).num_rows
            inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if len(inside):
                yield from table.read_row_group(number, use_threads=False).take(inside - first).to_pylist()
            first = last


def _quoted(path: str | Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
