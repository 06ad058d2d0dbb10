"""The catalog, in SQLite and, if `$BAICAI_TEST_POSTGRES` is set, in PostgreSQL."""

import dataclasses
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.wholesale.release.catalog import MIGRATIONS, Catalog, CatalogRecipe, list_releases
from baicai.wholesale.release.manifest import FORMAT, Manifest, Shard, Takedown
from tests.wholesale.test_release import Shop, write_pages

KEY = "ab" * 32
POSTGRES = os.environ.get("BAICAI_TEST_POSTGRES", "")


def shard(domain: str = "law", language: str = "de", licence: str = "CC0-1.0", documents: int = 10) -> Shard:
    name = uuid.uuid4().hex * 2
    return Shard(
        file=name, size_bytes=1000, index_file=name, index_bytes=10, documents=documents, domain=domain,
        language=language, licence=licence, licence_class="open" if licence.startswith("CC") else "unknown",
        min_quality=0.5, max_quality=0.8,
    )  # fmt: skip


def manifest(name: str = "corpus", version: int = 1, *shards: Shard) -> Manifest:
    return Manifest(
        format=FORMAT, name=name, version=version, created=f"2026-11-{version:02}T00:00:00+00:00",
        expires="2027-01-01T00:00:00+00:00", previous="", shards=list(shards or [shard()]),
        takedowns=[Takedown(documents=["1", "2"], reason="", requested="", deadline="")],
    )  # fmt: skip


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(not POSTGRES, reason="$BAICAI_TEST_POSTGRES is not set")),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Create a database for one test and yield its URL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'catalog.sqlite'}"
        return
    server = sa.make_url(POSTGRES).set(drivername="postgresql+psycopg")
    name = f"catalog_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield sa.make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    opened = Catalog(url)
    yield opened
    opened.close()


def test_added_releases_are_listed(catalog: Catalog) -> None:
    held = [shard(documents=3), shard(documents=4), shard("code", "en", "MIT", 5)]
    catalog.add_release(manifest("corpus", 1, *held), KEY, "/releases/corpus")
    (entry,) = catalog.entries()
    assert (entry.name, entry.version, entry.documents, entry.size_bytes) == ("corpus", 1, 12, 3030)
    assert (entry.domain, entry.language) == ({"code": 5, "law": 7}, {"de": 7, "en": 5})
    assert entry.licence == {"CC0-1.0": 7, "MIT": 5}
    assert (entry.key, entry.location, entry.taken_down) == (KEY, "/releases/corpus", 2)
    assert [tuple(holding) for holding in catalog.holdings(entry.hash)] == [
        ("law", "de", "CC0-1.0", "open", 7, 0.5, 0.8),
        ("code", "en", "MIT", "unknown", 5, 0.5, 0.8),
    ]
    assert catalog.holdings("0" * 64) == []


@pytest.mark.parametrize(
    ("conditions", "documents"),
    [
        ("domain=law", 7), ("domain=code", 5), ("language=de,en", 12), ("licence=open", 7), ("licence=MIT", 5),
        ("quality>0.7", 12), ("quality>0.9", None), ("domain=art", None), ("domain=law language=en", None),
    ],
)  # fmt: skip
def test_a_slice_filters_the_releases(catalog: Catalog, conditions: str, documents: int | None) -> None:
    held = [shard(documents=3), shard(documents=4), shard("code", "en", "MIT", 5)]
    catalog.add_release(manifest("corpus", 1, *held), KEY, "/releases/corpus")
    assert [entry.documents for entry in catalog.entries(conditions)] == ([documents] if documents else [])


def test_a_later_release_supersedes_the_one_before(catalog: Catalog) -> None:
    for version in (1, 2):
        catalog.add_release(manifest("corpus", version), KEY, "/releases/corpus")
    catalog.add_release(manifest("corpus", 1), KEY, "/mirror")
    catalog.add_release(manifest("other", 1), KEY, "/releases/other")
    listed = [(entry.name, entry.version, entry.location) for entry in catalog.entries()]
    assert listed == [("corpus", 2, "/releases/corpus"), ("corpus", 1, "/mirror"), ("other", 1, "/releases/other")]
    catalog.add_release(manifest("corpus", 3), KEY, "/mirror")
    all_versions = [(entry.name, entry.version, entry.location) for entry in catalog.entries(superseded=True)]
    assert all_versions[:3] == [("corpus", 3, "/mirror"), ("corpus", 2, "/releases/corpus"), ("corpus", 1, "")]


def test_adding_a_release_twice_changes_nothing(catalog: Catalog) -> None:
    release = manifest()
    for _ in range(2):
        catalog.add_release(release, KEY, "/releases/corpus")
    assert len(catalog.entries(superseded=True)) == 1


def test_several_writers_can_open_the_catalog_at_once(url: str) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            opened = Catalog(url)
            for version in range(1, 4):
                opened.add_release(manifest(f"corpus-{number}", version), KEY, f"/releases/{number}")
            opened.close()
        except BaseException as error:  # noqa: BLE001  # reported by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    opened = Catalog(url)
    assert [entry.version for entry in opened.entries()] == [3] * 4
    opened.close()


def test_migrations_have_one_head_and_can_be_reverted(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
    opened = Catalog(url)
    with opened._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    opened.close()
    again = Catalog(url)
    assert again.entries() == []
    again.close()


def test_a_catalog_of_a_newer_version_is_left_alone(url: str) -> None:
    opened = Catalog(url)
    with opened._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of_tomorrow'")
    opened.close()
    with pytest.raises(ArtefactError, match="written by a newer baicai: update this one"):
        Catalog(url)


def test_a_published_release_is_added(tmp_path: Path, url: str) -> None:
    shop = Shop(tmp_path)
    write_pages(tmp_path / "books", range(5))
    shop.gather(tmp_path / "books")
    shop.publish(catalog_url=url)
    write_pages(tmp_path / "more", range(5, 8))
    shop.gather(tmp_path / "more", url="https://books.example/q")
    published = shop.publish(catalog_url=url)
    _, (entry,) = list_releases(CatalogRecipe(catalog_url=url, slice="domain=books"))
    assert (entry.version, entry.hash, entry.documents) == (2, published.hash, 8)
    assert entry.location == str(shop.release)


def test_a_release_of_another_publisher_can_be_added(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    write_pages(tmp_path / "books", range(5))
    shop.gather(tmp_path / "books")
    shop.publish(catalog_url=f"sqlite:///{tmp_path / 'theirs.sqlite'}")
    monkeypatch.setenv("BAICAI_CATALOG", url)
    _, (entry,) = list_releases(CatalogRecipe(add=str(shop.release)))
    assert (entry.location, entry.documents) == (str(shop.release), 5)


def test_a_password_is_not_printed() -> None:
    with pytest.raises(MachineError) as error:
        Catalog("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(error.value)
    assert "does not respond" in str(error.value)


@pytest.mark.parametrize(
    ("invalid_url", "error", "message"),
    [
        (
            "catalog.sqlite",
            ConfigError,
            "'catalog.sqlite' is not a URL: write sqlite:///FILE or postgresql://HOST/NAME",
        ),
        ("mysql://x/y", ConfigError, "'mysql' is not supported"),
        ("sqlite:////dev/null/x/catalog", MachineError, "cannot write"),
    ],
)
def test_an_invalid_url_is_an_error(invalid_url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Catalog(invalid_url)


def test_a_file_that_is_not_a_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes\n" * 100)
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match="is not a catalog"):
        Catalog(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_names_may_contain_any_characters(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'c.sqlite'}"
    opened = Catalog(url)
    opened.add_release(dataclasses.replace(manifest(), name="名"), KEY, "/x")
    opened.close()
    _, (entry,) = list_releases(CatalogRecipe(catalog_url=url))
    assert entry.name == "名"
