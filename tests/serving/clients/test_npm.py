"""OpenAI's npm package, exercised by `npm/client.test.mjs`."""

import os
import shutil
import subprocess
from pathlib import Path

import openai
import pytest

NPM = Path(__file__).parent / "npm"
NODE = shutil.which("node")


@pytest.mark.skipif(not NODE, reason="node is not installed")
@pytest.mark.skipif(not (NPM / "node_modules").exists(), reason=f"run `npm ci` in {NPM}")
def test_the_npm_package_works(client: openai.OpenAI, roomy: openai.OpenAI) -> None:
    servers = {"BAICAI_TINY": str(client.base_url), "BAICAI_ROOMY": str(roomy.base_url)}
    result = subprocess.run(
        [str(NODE), "--test", "client.test.mjs"], cwd=NPM, env=os.environ | servers, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
