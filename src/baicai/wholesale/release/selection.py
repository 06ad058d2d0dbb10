"""Which documents of a warehouse a release is to have, told by a database that spills to disk.

Of each address the newest capture; of each group of duplicates the one with the best licence, then the oldest. What has
been given a domain since it was gathered has that one, and another version: it says something else.
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
"""Of the database, which sees no text; what does not fit is spilt."""
ROWS = 4096
"""Documents whose places are read at once."""
HELD_ROWS = 2**16
ASSIGNED_DOMAINS = "domains.parquet"
"""Place, id, domain and score of the documents of a batch that were given a domain."""
QUALITY_STEPS = (0.5, 0.7, 0.8, 0.9)
"""Where a next bucket of quality begins."""

FOUND = """
INSERT INTO found
SELECT
    ?, file_row_number, cluster, d.id, if(coalesce(g.domain = d.domain, true), version, md5(version || g.domain)),
    coalesce(g.domain, d.domain), d.domain, language, licence, licence_class, quality, fetched
FROM read_parquet(?, file_row_number = true) d JOIN grouped ON grouped.place = file_row_number
LEFT JOIN given g ON g.place = file_row_number
"""
WANTED = """
CREATE TABLE wanted AS
WITH newest AS (
    SELECT * FROM found WHERE id NOT IN (SELECT id FROM taken)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY batch DESC, place DESC) = 1
)
SELECT * FROM newest
"""
BEST = """
QUALIFY row_number() OVER (
    PARTITION BY cluster ORDER BY CASE licence_class {ranks} END, fetched, id
) = 1
"""


class Group(NamedTuple):
    """What the documents of a shard have in common."""

    domain: str
    language: str
    licence: str
    licence_class: str
    bucket: int


class Selection:
    """What is wanted; close it when done."""

    def __init__(self, warehouse: Warehouse, *, duplicates: bool) -> None:
        settings: dict[str, Any] = {
            "memory_limit": MEMORY,
            "temp_directory": str(warehouse.folder / "spill"),
            "threads": 2,
        }
        self._folder = warehouse.folder
        self._base = duckdb.connect(config=settings)
        self._files = [
            str(warehouse.documents_folder(batch.task) / "documents.parquet") for batch in warehouse.gathered_files()
        ]
        index, model = DuplicateIndex(warehouse.duplicates), warehouse.current_domain_model()
        self._base.execute(
            "CREATE TABLE found (batch INT, place BIGINT, cluster BIGINT, id VARCHAR, version VARCHAR, domain VARCHAR, "
            "own VARCHAR, language VARCHAR, licence VARCHAR, licence_class VARCHAR, quality FLOAT, fetched TIMESTAMPTZ)"
        )
        for number, (batch, file) in enumerate(zip(warehouse.gathered_files(), self._files, strict=True)):
            groups_N = index.groups(batch.task)
            self._base.register("grouped", pa.table({"place": np.arange(len(groups_N)), "cluster": groups_N}))
            given = _given(warehouse.assigned_domains_folder(model, batch.task) / ASSIGNED_DOMAINS)
            self._base.execute(f"CREATE OR REPLACE VIEW given AS SELECT place, domain FROM {given}")
            self._base.execute(FOUND, [number, file])
        taken = {one for takedown in warehouse.takedowns() for one in takedown.documents}
        self._base.register("taken", pa.table({"id": pa.array(sorted(taken), pa.string())}))
        ranks = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in RANK.items())
        documents = " UNION ALL ".join(
            f"SELECT {number} AS batch, * FROM read_parquet({_quoted(file)}, file_row_number = true)"
            for number, file in enumerate(self._files)
        )
        self._base.execute(f"CREATE VIEW documents AS {documents}")
        self._base.execute(WANTED + ("" if duplicates else BEST.format(ranks=ranks)))
        self._base.execute("DROP TABLE found")

    def close(self) -> None:
        """Let the database go."""
        self._base.close()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many documents are wanted, by domain, language, licence, year and tenth of quality."""
        columns = {
            **{name: name for name in ("domain", "language", "licence")},
            "year": "year(fetched)::VARCHAR",
            "quality": "format('{:.1f}', least(floor(quality * 10) / 10, 0.9))",
        }
        return {
            name: dict(self._base.execute(f"SELECT {value} AS one, count(*) FROM wanted GROUP BY one").fetchall())
            for name, value in columns.items()
        }

    def compare(self, held: Path | None) -> None:
        """Say what a release holds already: a Parquet file with id, version, shard and frame."""
        source = (
            f"read_parquet({_quoted(held)})"
            if held
            else "(SELECT '' AS id, '' AS version, '' AS shard, 0 AS frame LIMIT 0)"
        )
        self._base.execute(f"CREATE VIEW held AS SELECT * FROM {source}")

    def gone(self) -> set[str]:
        """Return the shards of which something is held and no longer wanted as it is."""
        self._base.execute(
            "CREATE TABLE gone AS SELECT shard, frame, id FROM held ANTI JOIN wanted USING (id, version)"
        )
        return {row[0] for row in self._base.execute("SELECT DISTINCT shard FROM gone").fetchall()}

    def gone_in(self, shard: str) -> dict[int, set[str]]:
        """Return the ids of what is gone of a shard, by frame."""
        found: dict[int, set[str]] = {}
        for frame, document in self._base.execute("SELECT frame, id FROM gone WHERE shard = ?", [shard]).fetchall():
            found.setdefault(frame, set()).add(document)
        return found

    def held_outside(self, shards: Iterable[str]) -> Iterator[pa.Table]:
        """Yield id, version, shard and frame of what all other shards hold."""
        query = "SELECT * FROM held WHERE NOT list_contains(?, shard)"
        for batch in self._base.sql(query, params=[sorted(shards)]).to_arrow_reader(HELD_ROWS):
            yield pa.Table.from_batches([batch])

    def held_in(self, shard: str) -> pa.Table:
        """Return id, version, shard and frame of what a shard holds."""
        return self._base.sql("SELECT * FROM held WHERE shard = ?", params=[shard]).to_arrow_table()

    def fresh(self) -> Iterator[tuple[Group, DocumentLine]]:
        """Yield what is wanted and not held, group by group, the best first.

        Lines are written to disk as they are found and read as they are wanted: to sort them, the database would need
        the more memory the more there are.
        """
        with tempfile.TemporaryFile(dir=self._folder) as lines:
            self._base.execute("CREATE TABLE fresh AS SELECT * FROM wanted ANTI JOIN held USING (id, version)")
            self._base.execute("CREATE TABLE lines (batch INT, place BIGINT, start BIGINT, size BIGINT)")
            for number, file in enumerate(self._files):
                self._write(number, file, lines)
            bucket = " + ".join(f"(quality >= {step})::INT" for step in QUALITY_STEPS)
            rows = self._base.sql(
                f"""
                SELECT domain, language, licence, licence_class, {bucket} AS bucket, id, version, quality, start, size
                FROM fresh JOIN lines USING (batch, place)
                ORDER BY domain, language, licence, bucket, quality DESC, id
                """
            )
            for batch in rows.to_arrow_reader(ROWS):
                for *group, document, version, quality, start, size in zip(*batch.to_pydict().values(), strict=True):
                    lines.seek(start)
                    yield Group(*group), DocumentLine(document, version, quality, lines.read(size))

    def _write(self, batch: int, file: str, lines: IO[bytes]) -> None:
        """Append the lines of a batch's fresh documents, and note where they are."""
        query = "SELECT place, domain, version FROM fresh WHERE batch = ? ORDER BY place"
        found = self._base.execute(query, [batch]).fetchnumpy()
        places = np.asarray(found["place"], np.int64)
        if not len(places):
            return
        starts = [lines.tell()]
        for row, domain, version in zip(_rows_at(file, places), found["domain"], found["version"], strict=True):
            given = {"domain": domain, "version": version}
            told = row | given | {"fetched": row["fetched"].isoformat(), "license": row["licence"]}
            lines.write(encode_line(told).content)
            starts.append(lines.tell())
        where = pa.table({"place": places, "start": starts[:-1], "size": np.diff(starts)})
        self._base.register("where_lines", where)
        self._base.execute(f"INSERT INTO lines SELECT {batch}, place, start, size FROM where_lines")

    def source_domain_counts(self) -> dict[str, int]:
        """Return how many documents there are of each domain that the sources named."""
        return dict(self._base.execute("SELECT own, count(*) FROM wanted GROUP BY own ORDER BY own").fetchall())

    def sample(self, domain: str, most: int, characters: int) -> list[str]:
        """Return the beginnings of documents of a domain that the sources named: by id, so the same whatever the order.

        An id is a hash, which makes the first ones a fair sample.
        """
        rows = self._base.execute(
            """
            SELECT left(d.text, ?) FROM (SELECT * FROM wanted WHERE own = ? ORDER BY id LIMIT ?) w
            JOIN documents d ON w.batch = d.batch AND w.place = d.file_row_number ORDER BY w.id
            """,
            [characters, domain, most],
        )
        return [text for (text,) in rows.fetchall()]


def _given(path: Path) -> str:
    """Return where the domains are that the model in force gave a batch; one that it has not seen has none."""
    return f"read_parquet({_quoted(path)})" if path.exists() else "(SELECT 0 AS place, '' AS domain LIMIT 0)"


def _rows_at(file: str, places: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield rows of a Parquet file, given by their sorted numbers; groups of rows without any are not read."""
    with pq.ParquetFile(file) as table:
        first = 0
        for number in range(table.num_row_groups):
            last = first + table.metadata.row_group(number).num_rows
            inside = places[np.searchsorted(places, first) : np.searchsorted(places, last)]
            if len(inside):
                yield from table.read_row_group(number, use_threads=False).take(inside - first).to_pylist()
            first = last


def _quoted(path: str | Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
