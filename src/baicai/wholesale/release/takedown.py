"""`baicai data takedown`: take documents back, by address, host, id or text."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    """What to take back: one of url, host, id and text."""

    warehouse: str
    url: str = ""
    host: str = ""
    """All documents of a host and of those below it; of a name without a dot only its own."""
    id: str = ""
    text: str = ""
    """A file with the text: all documents that are nearly the same are taken back."""
    reason: str = ""
    deadline_days: Positive = 30.0
    """By when each subscriber must have purged them."""


def take_down(config: TakedownRecipe, now: datetime | None = None) -> Takedown:
    """Note the request in the warehouse, whose next release carries it out, and return it.

    Raises: ConfigError if it is not said what to take back, DataError if there is no such document.
    """
    given = [name for name in ("url", "host", "id", "text") if getattr(config, name)]
    if len(given) != 1:
        raise ConfigError(f"takedown: give one of url, host, id and text, not {' and '.join(given) or 'none'}")
    warehouse = Warehouse(Path(config.warehouse)).require_gathered()
    with warehouse.locked():
        ids = sorted(_find(config, warehouse))
        if not ids:
            raise DataError(f"takedown: no document here has that {given[0]}: check it; nothing was taken back")
        now = (now or datetime.now(UTC)).replace(microsecond=0)
        deadline = now + timedelta(days=config.deadline_days)
        request = Takedown(
            documents=ids, reason=config.reason, requested=now.isoformat(), deadline=deadline.isoformat()
        )
        warehouse.add_takedown(request)
        return request


def _find(config: TakedownRecipe, warehouse: Warehouse) -> set[str]:
    if config.text:
        return _nearly(Path(config.text), warehouse)
    files = [str(warehouse.documents_folder(batch.task) / "documents.parquet") for batch in warehouse.gathered_files()]
    if config.host:
        host = config.host.lower()
        below = f".{host}" if "." in host else "/"  # else a whole top-level domain would go
        condition, values = "host = ? OR ends_with(host, ?)", [host, below]
    else:
        condition, values = "id = ?", [config.id or document_id(config.url)]
    with duckdb.connect() as base:
        rows = base.execute(f"SELECT DISTINCT id FROM read_parquet(?) WHERE {condition}", [files, *values]).fetchall()
    return {row[0] for row in rows}


def _nearly(path: Path, warehouse: Warehouse) -> set[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"takedown: text {path} cannot be read ({error}): give a UTF-8 file") from None
    index = DuplicateIndex(warehouse.duplicates)
    (numbers,) = index.find(minhash([hash_words(text)]))
    found: set[str] = set()
    first = 0
    with duckdb.connect() as base:
        for batch in warehouse.gathered_files():
            last = first + len(index.groups(batch.task))
            places = [int(number) - first for number in numbers if first <= number < last]
            if places:
                query = "SELECT id FROM read_parquet(?, file_row_number = true) WHERE list_contains(?, file_row_number)"
                file = str(warehouse.documents_folder(batch.task) / "documents.parquet")
                found |= {row[0] for row in base.execute(query, [file, places]).fetchall()}
            first = last
    return found
