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
UNANSWERED = {"/v1/runs/{name}", "/v1/catalog/{release}"}
"""Routes that only refuse here, where there are neither runs nor releases."""
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "apple"}], "max_tokens": 4}


def count_answers(web: httpx.Client) -> Counter[str]:
    """Return how often each route has answered, not refused."""
    found = re.findall(
        r'^baicai_http_requests_total\{route="(.*)",status="200"\} (.*)$', web.get("/metrics").text, re.M
    )
    return Counter({route: int(float(count)) for route, count in found})


def test_answers_are_as_described(web: httpx.Client, tmp_path: Path) -> None:
    document = web.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("required", ()) and "id" not in schema["properties"]:
            schema["properties"]["model"] = {"const": "tiny"}
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    chat["example"] = CHAT  # drawn conversations seldom fit so small a model
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    words = [
        *("run", "openapi.json", "--url", str(web.base_url), "--max-examples", "15"),
        *(
            "--phases",
            "examples,coverage,fuzzing",
            "--generation-deterministic",
            "--exclude-checks",
            ",".join(EXCLUDED),
        ),
    ]
    before = count_answers(web)
    told = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr
    answered = count_answers(web) - before
    assert {*document["paths"]} - UNANSWERED <= {route.replace(":path", "") for route in answered}
