"""Schemathesis: valid and invalid requests are answered as the OpenAPI document describes."""

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
    "positive_data_acceptance": "a schema cannot express the context length or the existing tools and leaves",
}
"""Excluded checks, with the reason; every route is checked."""
WITHOUT_SUCCESS = {"/v1/runs/{name}", "/v1/catalog/{release}"}
"""Routes that can only fail here, where neither runs nor releases exist."""
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "apple"}], "max_tokens": 4}


def count_successes(web: httpx.Client) -> Counter[str]:
    """Return the number of successful responses of each route."""
    counters = re.findall(
        r'^baicai_http_requests_total\{route="(.*)",status="200"\} (.*)$', web.get("/metrics").text, re.M
    )
    return Counter({route: int(float(count)) for route, count in counters})


def test_responses_match_the_openapi_document(web: httpx.Client, tmp_path: Path) -> None:
    document = web.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("required", ()) and "id" not in schema["properties"]:
            schema["properties"]["model"] = {"const": "tiny"}
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    chat["example"] = CHAT  # generated conversations seldom fit so small a model
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    arguments = [
        *("run", "openapi.json", "--url", str(web.base_url), "--max-examples", "15"),
        *(
            "--phases",
            "examples,coverage,fuzzing",
            "--generation-deterministic",
            "--exclude-checks",
            ",".join(EXCLUDED),
        ),
    ]
    before = count_successes(web)
    result = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    succeeded = count_successes(web) - before
    assert {*document["paths"]} - WITHOUT_SUCCESS <= {route.replace(":path", "") for route in succeeded}
