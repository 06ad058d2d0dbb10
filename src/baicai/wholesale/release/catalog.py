"""Catalog of releases: their names, versions, locations and contents.

Stored in a SQLite file by default, or in a PostgreSQL database that several publishers share.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from baicai.artefact import explain_disk_errors, home_folder
from baicai.config import recipe
from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.wholesale.release.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, verify_manifest
from baicai.wholesale.release.remote import RemoteRelease
from baicai.wholesale.release.slices import parse_slice

MIGRATIONS = Path(__file__).parents[1] / "migrations"
LOCK = 0x62616963
"""Number of the PostgreSQL advisory lock that a writer holds."""
TIMEOUT_SECONDS = 30
LABELS = ("domain", "language", "licence")
_MIGRATING = threading.Lock()
"""Held while migrating: Alembic is not thread-safe."""


@recipe
class CatalogRecipe:
    """Releases to list, and a release to add first."""

    RENAMED: ClassVar[dict[str, str]] = {"catalog": "catalog_url"}

    catalog_url: str = ""
    """`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; by default $BAICAI_CATALOG, or `catalog.sqlite` in
    the project's home folder."""
    add: str = ""
    """Folder or address of a release to add."""
    slice: str = ""
    """List only releases that can contain documents of this slice, such as `domain=law language=de`."""
    all: bool = False
    """Also list releases that were superseded by later ones."""


class CatalogEntry(NamedTuple):
    """A release in the catalog. The field names are those of `baicai data catalog --json` and of `/v1/catalog`."""

    name: str
    version: int
    hash: str
    key: str
    """Public key that signed it, hex."""
    created: str
    expires: str
    size_bytes: int
    taken_down: int
    """Number of documents removed by takedowns, in this and all earlier versions."""
    location: str
    """Empty if a later release replaced it there."""
    documents: int
    """Number of documents in the shards that can contain the requested slice."""
    domain: dict[str, int]
    """Documents of each domain."""
    language: dict[str, int]
    licence: dict[str, int]


class Holding(NamedTuple):
    """Documents of a release with the same domain, language and licence."""

    domain: str
    language: str
    licence: str
    licence_class: str
    documents: int
    min_quality: float
    max_quality: float


class Catalog:
    """An open catalog, migrated to the newest tables. Close it after use."""

    def __init__(self, url: str = "") -> None:
        """Open the catalog at a URL, creating a SQLite file that does not exist.

        Raises: ConfigError for an invalid URL, MachineError if the database does not respond, ArtefactError if it is
        not a catalog.
        """
        self._url = _parse(url or os.environ.get("BAICAI_CATALOG") or f"sqlite:///{home_folder() / 'catalog.sqlite'}")
        self.address = self._url.render_as_string(hide_password=True)
        self._engine = _engine(self._url)
        try:
            self._release, self._holding, self._place = self._migrate()
        except BaseException:
            self.close()
            raise

    def _migrate(self) -> list[sa.Table]:
        config, tables = Config(), sa.MetaData()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._explain_errors(), _MIGRATING, self._writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            tables.reflect(connection)
        return [tables.tables[name] for name in ("release", "holding", "place")]

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()

    def add_release(self, manifest: Manifest, key: str, location: str) -> None:
        """Record a release signed with public key `key` (hex) as the current one at a location."""
        release, locations = self._release.c, self._place.c
        with self._explain_errors(), self._writing() as connection:
            if connection.execute(sa.select(release.hash).where(release.hash == manifest.hash)).first() is None:
                connection.execute(sa.insert(self._release).values(_row(manifest, key)))
                if manifest.shards:
                    connection.execute(sa.insert(self._holding), _holdings(manifest))
            update = sa.update(self._place).where(locations.location == location).values(release=manifest.hash)
            if connection.execute(update).rowcount == 0:
                connection.execute(sa.insert(self._place).values(location=location, release=manifest.hash))

    def entries(self, slice_text: str = "", *, superseded: bool = False) -> list[CatalogEntry]:
        """List the releases that can contain documents of a slice, sorted by name, newest version first.

        Args:
            slice_text: conditions as `parse_slice` reads them; empty lists every release.
            superseded: also list releases that were replaced by later ones.

        Raises: ConfigError if the slice is invalid.
        """
        requested, release, locations = parse_slice(slice_text), self._release, self._place
        query = sa.select(release, sa.func.coalesce(locations.c.location, "").label("location")).select_from(
            release.join(locations, locations.c.release == release.c.hash, isouter=superseded)
        )
        with self._explain_errors(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(release.c.name, release.c.version.desc(), "location")).mappings()
            entries = []
            for row in rows.all():
                query = sa.select(self._holding).where(self._holding.c.release == row["hash"])
                holdings: list[Any] = [holding for holding in connection.execute(query) if requested.may_hold(holding)]  # type: ignore[arg-type]
                if holdings or not slice_text:
                    fields: dict[str, Any] = {name: row[name] for name in CatalogEntry._fields if name in row}
                    fields |= {name: _count_by(holdings, name) for name in LABELS}
                    entries.append(CatalogEntry(**fields, documents=sum(holding.documents for holding in holdings)))
        return entries

    def holdings(self, release: str) -> list[Holding]:
        """List the holdings of a release, most documents first; empty if no release has this hash."""
        column = self._holding.c
        query = sa.select(*(column[name] for name in Holding._fields)).where(column.release == release)
        with self._explain_errors(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(column.documents.desc(), *(column[name] for name in LABELS)))
            return [Holding(*row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Yield a transaction that excludes other writers."""
        with self._engine.begin() as connection:
            if self._url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            yield connection

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Turn database errors into one-line errors."""
        try:
            yield
        except CommandError:
            raise ArtefactError(f"{self.address} was written by a newer baicai: update this one") from None
        except OperationalError as error:
            raise MachineError(f"{self.address} does not respond ({_brief(error)}): check that it is running") from None
        except DatabaseError as error:
            raise ArtefactError(f"{self.address} is not a catalog ({_brief(error)}): give another URL") from None


def _count_by(holdings: Sequence[Any], name: str) -> dict[str, int]:
    """Count documents by domain, language or licence."""
    counts = dict.fromkeys(sorted({getattr(holding, name) for holding in holdings}), 0)
    for holding in holdings:
        counts[getattr(holding, name)] += holding.documents
    return counts


def _row(manifest: Manifest, key: str) -> dict[str, str | int]:
    return {
        "hash": manifest.hash,
        "key": key,
        "name": manifest.name,
        "version": manifest.version,
        "created": manifest.created,
        "expires": manifest.expires,
        "size_bytes": sum(shard.size_bytes + shard.index_bytes for shard in manifest.shards),
        "taken_down": len({document for takedown in manifest.takedowns for document in takedown.documents}),
    }


def _holdings(manifest: Manifest) -> list[dict[str, str | int | float]]:
    """Add up the shards of each domain, language and licence."""
    holdings: dict[tuple[str, ...], Holding] = {}
    for shard in manifest.shards:
        labels = (shard.domain, shard.language, shard.licence, shard.licence_class)
        holding = holdings.get(labels, Holding(*labels, 0, shard.min_quality, shard.max_quality))
        holdings[labels] = holding._replace(
            documents=holding.documents + shard.documents,
            min_quality=min(holding.min_quality, shard.min_quality),
            max_quality=max(holding.max_quality, shard.max_quality),
        )
    return [{"release": manifest.hash, **holding._asdict()} for holding in holdings.values()]


class CatalogListing(NamedTuple):
    """Result of `baicai data catalog`."""

    address: str
    """URL of the catalog, without a password."""
    releases: list[CatalogEntry]


def list_releases(config: CatalogRecipe) -> CatalogListing:
    """Add the release that the recipe names, if any, and list the catalog.

    Raises: ConfigError, ArtefactError, MachineError.
    """
    catalog = Catalog(config.catalog_url)
    try:
        if config.add:
            remote = RemoteRelease(config.add)
            content, where = remote.read(MANIFEST, MAX_MANIFEST_BYTES), remote.address_of(MANIFEST)
            location = str(Path(config.add).resolve()) if Path(config.add).exists() else remote.address
            catalog.add_release(*verify_manifest(content, where), location)
        return CatalogListing(catalog.address, catalog.entries(config.slice, superseded=config.all))
    finally:
        catalog.close()


def _parse(url: str) -> sa.URL:
    forms = "write sqlite:///FILE or postgresql://HOST/NAME"
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise ConfigError(f"catalog_url: '{url}' is not a URL: {forms}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"catalog_url: '{parsed.drivername}' is not supported: {forms}")
    return parsed


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        options = {"connect_timeout": TIMEOUT_SECONDS}
        try:
            return sa.create_engine(url.set(drivername="postgresql+psycopg"), connect_args=options)
        except ModuleNotFoundError as error:
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[postgres]'") from None
    if url.database:
        folder = Path(url.database).parent
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": TIMEOUT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # `_writing` begins transactions, not the driver
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _brief(error: DatabaseError) -> str:
    return str(error.orig or error).strip().splitlines()[0][:200]
