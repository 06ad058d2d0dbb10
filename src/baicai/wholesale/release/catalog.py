"""The catalogue: which releases there are, where, and what each holds.

A SQLite file by default; a PostgreSQL database, by its URL, for one that many share.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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
"""Number of PostgreSQL's advisory lock, which whoever writes holds."""
WAIT_SECONDS = 30
NAMES = ("domain", "language", "licence")
_UPGRADING = threading.Lock()
"""Alembic takes one command at a time."""


@recipe
class CatalogRecipe:
    """What to list, and what to enter first."""

    catalog: str = ""
    """URL of a database, `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; by default $BAICAI_CATALOG, or
    `catalog.sqlite` in the project's home folder."""
    add: str = ""
    """A release to enter: a folder, or an address."""
    slice: str = ""
    """Only releases that may hold such documents, as in `domain=law language=de`."""
    all: bool = False
    """Also releases that later ones replaced."""


class CatalogEntry(NamedTuple):
    """A release as the catalogue knows it."""

    name: str
    version: int
    hash: str
    key: str
    """Hex, of the key that signed it."""
    created: str
    expires: str
    size_bytes: int
    taken_down: int
    location: str
    """Empty if a later one took its place."""
    documents: int
    """Of the shards that may hold what was asked for."""
    domain: dict[str, int]
    """How many of them each has."""
    language: dict[str, int]
    licence: dict[str, int]


class Holding(NamedTuple):
    """What a release holds of one domain, language and licence."""

    domain: str
    language: str
    licence: str
    licence_class: str
    documents: int
    min_quality: float
    max_quality: float


class Catalog:
    """A catalogue, its tables brought up to date; close it when done."""

    def __init__(self, url: str = "") -> None:
        """Open it, and make it if it is a SQLite file that is not there.

        Raises: ConfigError for a URL that is none, MachineError if the database does not answer, ArtefactError if it is
        no catalogue of ours.
        """
        self._url = _parse(url or os.environ.get("BAICAI_CATALOG") or f"sqlite:///{home_folder() / 'catalog.sqlite'}")
        self.address = self._url.render_as_string(hide_password=True)
        self._engine = _engine(self._url)
        try:
            self._release, self._holding, self._place = self._upgraded()
        except BaseException:
            self.close()
            raise

    def _upgraded(self) -> list[sa.Table]:
        config, tables = Config(), sa.MetaData()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._told(), _UPGRADING, self._writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            tables.reflect(connection)
        return [tables.tables[name] for name in ("release", "holding", "place")]

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()

    def add_release(self, manifest: Manifest, key: str, location: str) -> None:
        """Enter a release that `key` (hex) signed as what lies at a location now."""
        release, place = self._release.c, self._place.c
        with self._told(), self._writing() as connection:
            if connection.execute(sa.select(release.hash).where(release.hash == manifest.hash)).first() is None:
                connection.execute(sa.insert(self._release).values(_row(manifest, key)))
                if manifest.shards:
                    connection.execute(sa.insert(self._holding), _holdings(manifest))
            here = sa.update(self._place).where(place.location == location).values(release=manifest.hash)
            if connection.execute(here).rowcount == 0:
                connection.execute(sa.insert(self._place).values(location=location, release=manifest.hash))

    def entries(self, wanted: str = "", *, replaced: bool = False) -> list[CatalogEntry]:
        """Return the releases that may hold what a slice asks for, by name, the newest version first.

        Raises: ConfigError if it is no slice.
        """
        terms, release, place = parse_slice(wanted), self._release, self._place
        query = sa.select(release, sa.func.coalesce(place.c.location, "").label("location")).select_from(
            release.join(place, place.c.release == release.c.hash, isouter=replaced)
        )
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(release.c.name, release.c.version.desc(), "location")).mappings()
            found = []
            for row in rows.all():
                of_it = sa.select(self._holding).where(self._holding.c.release == row["hash"])
                held: list[Any] = [one for one in connection.execute(of_it) if terms.may_hold(one)]  # type: ignore[arg-type]
                if held or not wanted:
                    told: dict[str, Any] = {name: row[name] for name in CatalogEntry._fields if name in row}
                    told |= {name: _counted(held, name) for name in NAMES}
                    found.append(CatalogEntry(**told, documents=sum(one.documents for one in held)))
        return found

    def holdings(self, release: str) -> list[Holding]:
        """Return what the release with a hash holds, the most documents first; nothing if there is no such release."""
        held = self._holding.c
        query = sa.select(*(held[name] for name in Holding._fields)).where(held.release == release)
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(held.documents.desc(), *(held[name] for name in NAMES)))
            return [Holding(*row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Yield a transaction that no other writer shares the time with."""
        with self._engine.begin() as connection:
            if self._url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what a database says into one line."""
        try:
            yield
        except CommandError:
            raise ArtefactError(f"{self.address} was written by a newer baicai: update this one") from None
        except OperationalError as error:
            raise MachineError(f"{self.address} does not answer ({_brief(error)}): check that it runs") from None
        except DatabaseError as error:
            raise ArtefactError(f"{self.address} is no catalogue ({_brief(error)}): give another URL") from None


def _counted(held: Sequence[Any], name: str) -> dict[str, int]:
    """Return the documents of each domain, language or licence."""
    counts = dict.fromkeys(sorted({getattr(one, name) for one in held}), 0)
    for one in held:
        counts[getattr(one, name)] += one.documents
    return counts


def _row(manifest: Manifest, key: str) -> dict[str, Any]:
    return {
        "hash": manifest.hash,
        "key": key,
        "name": manifest.name,
        "version": manifest.version,
        "created": manifest.created,
        "expires": manifest.expires,
        "size_bytes": sum(shard.size_bytes + shard.index_bytes for shard in manifest.shards),
        "taken_down": len({one for takedown in manifest.takedowns for one in takedown.documents}),
    }


def _holdings(manifest: Manifest) -> list[dict[str, Any]]:
    """Return what a release holds of each domain, language and licence."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for shard in manifest.shards:
        names = {name: getattr(shard, name) for name in (*NAMES, "licence_class")}
        start = {"documents": 0, "min_quality": shard.min_quality, "max_quality": shard.max_quality}
        row = found.setdefault(tuple(names.values()), {"release": manifest.hash, **names, **start})
        row["documents"] += shard.documents
        row["min_quality"] = min(row["min_quality"], shard.min_quality)
        row["max_quality"] = max(row["max_quality"], shard.max_quality)
    return list(found.values())


def list_releases(config: CatalogRecipe) -> tuple[str, list[CatalogEntry]]:
    """Enter a release if the recipe names one, and return where the catalogue is and what it lists.

    Raises: ConfigError, ArtefactError, MachineError.
    """
    catalog = Catalog(config.catalog)
    try:
        if config.add:
            source = RemoteRelease(config.add)
            where = source.named(MANIFEST)
            location = str(Path(config.add).resolve()) if Path(config.add).exists() else source.address
            catalog.add_release(*verify_manifest(source.read(MANIFEST, MAX_MANIFEST_BYTES), where), location)
        return catalog.address, catalog.entries(config.slice, replaced=config.all)
    finally:
        catalog.close()


def _parse(url: str) -> sa.URL:
    try:
        found = sa.make_url(url)
    except ArgumentError:
        raise ConfigError(f"catalog: '{url}' is no URL: write sqlite:///FILE or postgresql://HOST/NAME") from None
    if found.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"catalog: '{found.drivername}' is not known: write sqlite:///FILE or postgresql://HOST/NAME")
    return found


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        told = {"connect_timeout": WAIT_SECONDS}
        try:
            return sa.create_engine(url.set(drivername="postgresql+psycopg"), connect_args=told)
        except ModuleNotFoundError as error:
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[postgres]'") from None
    if url.database:
        folder = Path(url.database).parent
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": WAIT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction: `_writing` does
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _brief(error: DatabaseError) -> str:
    return str(error.orig or error).strip().splitlines()[0][:200]
