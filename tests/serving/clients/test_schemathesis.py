"""Schemathesis: what the API's description allows, and what it forbids, is answered as the description says."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

pytest.importorskip("schemathesis", reason="pip install schemathesis")
EXCLUDED = {
    "positive_data_acceptance": "what a model has no room for, and what fits no tool or leaf, no schema can tell",
}
"""Checks that are left out, and why; every route is checked."""


def count_answers(web: httpx.Client) -> Counter[str]:
    """Return how often each route has answered, not refused."""
    found = re.findall(r'^baicai_requests_total\{route="(.*)",status="200"\} (.*)$', web.get("/metrics").text, re.M)
    return Counter({route: int(float(count)) for route, count in found})


def test_answers_are_as_described(web: httpx.Client, tmp_path: Path) -> None:
    document = web.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("required", ()) and "id" not in schema["properties"]:
            schema["properties"]["model"] = {"const": "tiny"}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    words = [
        *("run", "openapi.json", "--url", str(web.base_url), "--phases", "coverage,fuzzing", "--max-examples", "15"),
        *("--generation-deterministic", "--exclude-checks", ",".join(EXCLUDED)),
    ]
    before = count_answers(web)
    told = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr
    answered = count_answers(web) - before
    named = {re.sub(r"\{(\w+)\}", r"{\1:path}", path) for path in document["paths"]}
    assert named <= set(answered)
