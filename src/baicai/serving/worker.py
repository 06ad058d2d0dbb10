"""The engine's process, and the hand of the server that asks it.

They speak in lines of JSON over a pair of sockets. If the process dies, whoever waits for an answer is told so, and
another one is started.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from baicai.errors import BaicaiError
from baicai.serving.engine import Ended, Token


class BusyError(BaicaiError):
    """Too many requests wait already."""


class StoppedError(BaicaiError):
    """The engine's process has died; it is started again."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A text to be continued."""

    prompt: Sequence[int]
    leaves: Sequence[str]
    """Those that are on."""
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    end_ids: Sequence[int] = ()
    top_logprobs: int = 0
    echo: bool = False
    grammar: str = ""
    """What the answer must keep to, as llguidance writes it (JSON)."""
    client: str = ""


class Worker:
    """An engine in a process of its own."""

    async def answer(self, ask: Ask) -> AsyncGenerator[Token | Ended, None]:
        """Yield an answer's tokens, and how it ended; whoever stops listening stops it.

        Raises: ConfigError if it does not fit, BusyError if too many wait, StoppedError if the engine dies meanwhile.
        """
        raise NotImplementedError
        yield
