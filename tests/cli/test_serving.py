"""`baicai keys` and `baicai serve`."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from baicai.wholesale.release.catalog import Catalog
from tests.cli.conftest import Command
from tests.conftest import Workshop


def test_keys_are_created_listed_and_revoked(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path))
    empty = command("keys", "list")
    assert (empty.code, empty.out, empty.err) == (0, "", "No API keys yet: create one with `baicai keys add NAME`.\n")
    assert command("keys", "list", "--json").out == "[]\n"
    added = command("keys", "add", "reader")
    assert added.code == 0
    assert added.out.startswith("bk-")
    assert "not shown again" in added.err
    owner = json.loads(command("keys", "add", "owner", "scope=admin", "--json").out)
    assert (owner["name"], owner["scope"], len(owner["key"])) == ("owner", "admin", 46)
    listed = json.loads(command("keys", "list", "--json").out)
    assert [(key["name"], key["scope"]) for key in listed] == [("owner", "admin"), ("reader", "infer")]
    assert "reader  infer  since 20" in command("keys", "list").out
    assert command("keys", "revoke", "reader").code == 0
    again = command("keys", "revoke", "reader")
    assert (again.code, again.err) == (2, "error: 'reader' has no key: keys exist for owner\n")
    wrong = command("keys", "add", "reader", "scope=all")
    assert wrong.code == 2
    assert "scope" in wrong.err


def test_a_server_off_loopback_without_keys_does_not_start(command: Command, workshop: Workshop) -> None:
    outcome = command("serve", workshop.path("model"), "host=0.0.0.0")
    assert outcome.code == 2
    assert outcome.err.startswith(
        "error: serve: 0.0.0.0 is reachable from other machines: create a key with `baicai keys add NAME`"
    )


def test_an_invalid_catalog_url_is_an_error(command: Command, workshop: Workshop, tmp_path: Path) -> None:
    outcome = command("serve", workshop.path("model"), "catalog_url=moss")
    assert (outcome.code, outcome.err) == (
        2,
        "error: catalog_url: 'moss' is not a URL: write sqlite:///FILE or postgresql://HOST/NAME\n",
    )
    missing = tmp_path / "moss" / "catalog.sqlite"
    outcome = command("serve", workshop.path("model"), f"catalog_url=sqlite:///{missing}")
    assert (outcome.code, outcome.err) == (
        2,
        f"error: catalog_url: no catalog at {missing}: create one with `baicai data catalog`\n",
    )
    assert not missing.parent.exists()


def test_the_printed_usage_examples_work(workshop: Workshop, tmp_path: Path) -> None:
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    Catalog(catalog).close()
    words = [
        sys.executable,
        "-m",
        "baicai",
        "serve",
        workshop.path("model"),
        "port=0",
        "max_sequences=2",
        f"catalog_url={catalog}",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = [server.stdout.readline() for _ in range(5)]
            address = lines[0].split()[-1]
            assert lines[0] == f"model answers at {address}\n"
            curl = subprocess.run(["bash", "-c", lines[2]], capture_output=True, text=True, check=True)
            assert json.loads(curl.stdout)["choices"][0]["message"]["role"] == "assistant"
            program = f"{lines[4]}\nprint([model.id for model in client.models.list()])"
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            assert done.stdout == "['model']\n"
            response = httpx.get(f"{address}/v1/catalog").json()
            assert response == {"object": "list", "catalog": catalog, "data": []}
        finally:
            server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=20)
    assert server.returncode == 0
    assert "Traceback" not in errors
