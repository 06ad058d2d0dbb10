"""A release served over HTTP."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.wholesale.pull import PullRecipe, pull
from baicai.wholesale.server import ServeReleaseRecipe, UsageLedger, make_app
from tests.loopback import serving
from tests.wholesale.test_release import Shop, write_pages

KEY = "a key of sixteen characters"


def served(release: Path, **changes: Any) -> AbstractContextManager[str]:
    return serving(make_app(ServeReleaseRecipe(release=str(release), **changes)))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    shop = Shop(tmp_path)
    write_pages(tmp_path / "books", range(30))
    shop.gather(tmp_path / "books")
    shop.publish()
    return shop.release


def get(url: str, **headers: str) -> tuple[int, bytes, Any]:
    try:
        with urlopen(
            Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        ) as response:
            return response.status, response.read(), response.headers
    except HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_a_release_is_pulled_over_http(release: Path, tmp_path: Path) -> None:
    with served(release) as url:
        pulled = pull(PullRecipe(source=url, slice="domain=books"), tmp_path / "out")
    assert pulled.documents == 30


def test_ranges_and_etags_are_supported(release: Path) -> None:
    shard = next((release / "shards").glob("*.zst"))
    with served(release) as url:
        response = get(f"{url}/shards/{shard.name}")
        assert response[:2] == (200, shard.read_bytes())
        assert "immutable" in response[2]["Cache-Control"]
        assert get(f"{url}/shards/{shard.name}", Range="bytes=10-19")[:2] == (206, shard.read_bytes()[10:20])
        assert get(f"{url}/shards/{shard.name}", If_None_Match=response[2]["ETag"])[0] == 304
        assert get(f"{url}/MANIFEST")[2]["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["", "shards/", "../warehouse/batches.json", "%2e%2e/warehouse/batches.json", "shards/x"]
)
def test_other_paths_are_not_served(release: Path, path: str) -> None:
    with served(release) as url:
        assert get(f"{url}/{path}")[0] == 404


def test_keys_are_required_and_usage_recorded(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"ann": KEY}))
    ledger = str(tmp_path / "ledger.sqlite")
    with served(release, host="0.0.0.0", keys_file=str(tmp_path / "keys.json"), ledger=ledger) as url:
        assert get(f"{url}/MANIFEST")[0] == 401
        assert get(f"{url}/MANIFEST", Authorization="Bearer wrong")[0] == 401
        with pytest.raises(MachineError, match=r"cannot be read .401"):
            pull(PullRecipe(source=url), tmp_path / "out")
        monkeypatch.setenv("BAICAI_RELEASE_KEY", KEY)
        pulled = pull(PullRecipe(source=url), tmp_path / "out")
    usage = UsageLedger(ledger)
    assert usage.bytes_by_client() == {"ann": pulled.fetched_bytes}
    usage.close()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (None, r"0.0.0.0 can be reached by others: set keys_file"),
        ("[]", r"has no keys: write"),
        ("{", r"cannot be read"),
        ('{"ann": "short"}', r"the key of 'ann' is shorter than 16 characters"),
    ],
)
def test_invalid_keys_are_an_error(release: Path, tmp_path: Path, keys: str | None, message: str) -> None:
    settings = {}
    if keys is not None:
        (tmp_path / "keys.json").write_text(keys)
        settings = {"keys_file": str(tmp_path / "keys.json")}
    with pytest.raises(ConfigError, match=message):
        make_app(ServeReleaseRecipe(release=str(release), host="0.0.0.0", **settings))


def test_a_folder_that_is_not_a_release_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a release"):
        make_app(ServeReleaseRecipe(release=str(tmp_path)))
