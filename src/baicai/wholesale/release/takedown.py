"""`baicai data takedown`: request the removal of documents by address, host, id or text."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import duckdb

from baicai.config import Positive, recipe
from baicai.errors import ConfigError, DataError
from baicai.wholesale.processing.clean import document_id
from baicai.wholesale.processing.minhash import DuplicateIndex, minhash
from baicai.wholesale.processing.quality_signals import hash_words
from baicai.wholesale.release.manifest import Takedown
from baicai.wholesale.release.warehouse import Warehouse


@recipe
class TakedownRecipe:
    """Documents to remove: exactly one of url, host, id and text_file."""

    RENAMED: ClassVar[dict[str, str]] = {"text": "text_file"}

    warehouse: str
    url: str = ""
    host: str = ""
    """All documents of a host and its subdomains; a name without a dot has no subdomains."""
    id: str = ""
    text_file: str = ""
    """UTF-8 file with a text: all near-duplicates of it are removed."""
    reason: str = ""
    deadline_days: Positive = 30.0
    """Days within which subscribers must remove the documents."""


def take_down(config: TakedownRecipe, now: datetime | None = None) -> Takedown:
    """Record a takedown request in the warehouse, to take effect in its next release, and return it.

    Raises: ConfigError if not exactly one criterion is given, DataError if no document matches it.
    """
    criteria = [name for name in ("url", "host", "id", "text_file") if getattr(config, name)]
    if len(criteria) != 1:
        raise ConfigError(f"takedown: give one of url, host, id and text_file, not {' and '.join(criteria) or 'none'}")
    warehouse = Warehouse(Path(config.warehouse)).require_gathered()
    with warehouse.locked():
        ids = sorted(_matching_ids(config, warehouse))
        if not ids:
            raise DataError(f"takedown: no document matches this {criteria[0]}: check it; nothing was removed")
        now = (now or datetime.now(UTC)).replace(microsecond=0)
        deadline = now + timedelta(days=config.deadline_days)
        request = Takedown(
            documents=ids, reason=config.reason, requested=now.isoformat(), deadline=deadline.isoformat()
        )
        warehouse.add_takedown(request)
        return request


def _matching_ids(config: TakedownRecipe, warehouse: Warehouse) -> set[str]:
    if config.text_file:
        return _near_duplicates(Path(config.text_file), warehouse)
    files = [str(warehouse.documents_file(gathered.task)) for gathered in warehouse.gathered_files()]
    if config.host:
        host = config.host.lower()
        below = f".{host}" if "." in host else "/"  # a bare name must not match a whole top-level domain
        condition, values = "host = ? OR ends_with(host, ?)", [host, below]
    else:
        condition, values = "id = ?", [config.id or document_id(config.url)]
    with duckdb.connect() as database:
        rows = database.execute(
            f"SELECT DISTINCT id FROM read_parquet(?) WHERE {condition}", [files, *values]
        ).fetchall()
    return {row[0] for row in rows}


def _near_duplicates(path: Path, warehouse: Warehouse) -> set[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"takedown: text_file {path} cannot be read ({error}): give a UTF-8 file") from None
    index = DuplicateIndex(warehouse.duplicates)
    (numbers,) = index.find(minhash([hash_words(text)]))
    ids: set[str] = set()
    first = 0
    with duckdb.connect() as database:
        for gathered in warehouse.gathered_files():
            last = first + len(index.groups(gathered.task))
            rows = [int(number) - first for number in numbers if first <= number < last]
            if rows:
                query = "SELECT id FROM read_parquet(?, file_row_number = true) WHERE list_contains(?, file_row_number)"
                file = str(warehouse.documents_file(gathered.task))
                ids |= {row[0] for row in database.execute(query, [file, rows]).fetchall()}
            first = last
    return ids
