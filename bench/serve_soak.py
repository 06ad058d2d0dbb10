"""Soak test: clients send random requests at saturation, some disconnect, and every completion is checked.

Each request has been sent alone before; a completion that differs was lost or mixed up with another.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve_clients import Body, ask, server
from speed_models import SIZES, make_model
from speed_parties import some_tokens

CLIENTS, QUESTIONS = 40, 120
HANG_UP = 0.3
"""Share of requests whose client disconnects."""
WARM_SECONDS, LOOK_SECONDS = 300, 10
"""Memory growth is measured after WARM_SECONDS, once caches are full."""


def questions(name: str, leaves: Sequence[str]) -> list[Body]:
    """Build requests of all lengths, some with leaves off."""
    draw, vocab = random.Random(0), SIZES[name][0].vocab_size
    return [
        {
            "model": name,
            "prompt": some_tokens(draw.randrange(1, 200), vocab, seed % 30),
            "max_tokens": draw.randrange(1, 160),
            "temperature": draw.choice([0, 0.8]),
            "top_p": 0.95,
            "seed": seed,
            "leaves": {"only": draw.sample(leaves, draw.randrange(len(leaves) + 1))},
        }
        for seed in range(QUESTIONS)
    ]


async def _soak(port: int, process: subprocess.Popen[bytes], asked: Sequence[Body], seconds: float) -> dict[str, Any]:
    expected = [(await ask(port, body)).text for body in asked]
    counts, memory, draw = {"answers": 0, "hung_up": 0, "lost": 0}, list[int](), random.Random(1)
    begun = time.monotonic()

    async def client() -> None:
        while time.monotonic() < begun + seconds:
            number, hangs_up = draw.randrange(len(asked)), draw.random() < HANG_UP
            heard = await ask(port, asked[number], draw.randrange(40) if hangs_up else None)
            right = heard.text == expected[number] if heard.whole else expected[number].startswith(heard.text)
            counts["hung_up" if hangs_up and not heard.whole else "answers"] += 1
            counts["lost"] += not (right and (heard.whole or hangs_up))

    async def look() -> None:
        while time.monotonic() < begun + seconds:
            memory.append(_resident(process.pid))
            await asyncio.sleep(LOOK_SECONDS)

    await asyncio.gather(look(), *(client() for _ in range(CLIENTS)))
    warm = memory[int(min(WARM_SECONDS, seconds / 4) / LOOK_SECONDS) :]
    tenth = max(1, len(warm) // 10)
    early, late = sorted(warm[:tenth])[tenth // 2], sorted(warm[-tenth:])[tenth // 2]
    return {
        "soak_minutes": round(seconds / 60, 1),
        "soak_answers": counts["answers"],
        "soak_hung_up": counts["hung_up"],
        "soak_lost": counts["lost"],
        "soak_resident_mb": [round(early / 2**20), round(late / 2**20)],
        "soak_rss_growth": round(late / early - 1, 4),
    }


def _resident(pid: int) -> int:
    """Return the resident memory in bytes of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (pid, *children))
    return sum(pages) * 4096


def soak(minutes: float, folder: Path, name: str = "tiny") -> dict[str, Any]:
    """Count completed, cancelled and lost completions, and measure the growth of memory."""
    count = SIZES[name][2]
    leaves = list(make_model(name, folder).leaves)
    command = [sys.executable, "-m", "baicai", "serve", str(folder / f"{name}-{count}"), f"name={name}", "port={port}"]
    with server(command) as (port, process):
        return asyncio.run(_soak(port, process, questions(name, leaves), minutes * 60))
