"""Which documents of a warehouse a release is to have, told by a database that spills to disk.

Of each address the newest capture; of each group of duplicates the one with the best licence, then the oldest. What has
been given a domain since it was gathered has that one, and another version: it says something else.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from baicai.wholesale.duplicates import DuplicateIndex
from baicai.wholesale.licences import RANK
from baicai.wholesale.warehouse import Warehouse

MEMORY = "256MB"
"""Of the database; what does not fit is spilt."""
ROWS = 256
"""Documents that are read at once."""
GIVEN = "domains.parquet"
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
        self._base = duckdb.connect(config=settings)
        self._files = [str(warehouse.documents(batch.task) / "documents.parquet") for batch in warehouse.batches()]
        index, model = DuplicateIndex(warehouse.duplicates), warehouse.in_force()
        self._base.execute(
            "CREATE TABLE found (batch INT, place BIGINT, cluster BIGINT, id VARCHAR, version VARCHAR, domain VARCHAR, "
            "own VARCHAR, language VARCHAR, licence VARCHAR, licence_class VARCHAR, quality FLOAT, fetched TIMESTAMPTZ)"
        )
        for number, (batch, file) in enumerate(zip(warehouse.batches(), self._files, strict=True)):
            groups_N = index.groups(batch.task)
            self._base.register("grouped", pa.table({"place": np.arange(len(groups_N)), "cluster": groups_N}))
            given = _given(warehouse.given(model, batch.task) / GIVEN)
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

    def gone(self) -> dict[str, dict[int, set[str]]]:
        """Return the ids of what is held and no longer wanted as it is, by shard and frame."""
        rows = self._base.execute(
            "SELECT shard, frame, id FROM held ANTI JOIN wanted USING (id, version) ORDER BY ALL"
        ).fetchall()
        found: dict[str, dict[int, set[str]]] = {}
        for shard, frame, document in rows:
            found.setdefault(shard, {}).setdefault(frame, set()).add(document)
        return found

    def held_in(self, shard: str) -> list[tuple[str, str, int]]:
        """Return id, version and frame of what a shard holds."""
        return self._base.execute("SELECT id, version, frame FROM held WHERE shard = ?", [shard]).fetchall()

    def fresh(self) -> Iterator[tuple[Group, dict[str, Any]]]:
        """Yield what is wanted and not held, group by group, the best first."""
        bucket = " + ".join(f"(w.quality >= {step})::INT" for step in QUALITY_STEPS)
        rows = self._base.sql(
            f"""
            SELECT {bucket} AS bucket, d.* REPLACE (w.domain AS domain, w.version AS version)
            FROM (SELECT * FROM wanted ANTI JOIN held USING (id, version)) w
            JOIN documents d ON w.batch = d.batch AND w.place = d.file_row_number
            ORDER BY w.domain, d.language, d.licence, bucket, d.quality DESC, d.id
            """
        )
        for batch in rows.to_arrow_reader(ROWS):
            for row in batch.to_pylist():
                bucket_number = row.pop("bucket")
                group = Group(row["domain"], row["language"], row["licence"], row["licence_class"], bucket_number)
                yield group, row

    def gathered(self) -> dict[str, int]:
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


def _quoted(path: str | Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
