"""`generate` and `chat`: text in the terminal, with the leaf behind each word."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Literal

import click
from rich.console import Console
from rich.text import Text

from baicai.config import from_table, recipe, to_table
from baicai.data.document import Message
from baicai.errors import BaicaiError, ConfigError
from baicai.evaluation.figure_style import leaf_colours
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import TextChunk, chat_prompt, stream_text, text_prompt
from baicai.leaves.model import SparseModel, open_model

HELP = """/leaves            which leaves there are, and which are on
/leaves NAME on    switch a leaf on (or off)
/set KEY=VALUE     change sampling: temperature, top_p, top_k, max_tokens, seed
/reset             forget the conversation
/quit              leave"""


@recipe
class GenerateRecipe:
    """`baicai generate`: one text or one answer."""

    model: str
    prompt: str
    chat: bool = True
    """Take the prompt as a user's question; else continue it as text."""
    system: str = ""
    leaves: list[str] | None = None
    """Leaves that are on; default: all."""
    weights: Literal["stored", "int8"] = "stored"
    """Int8 is about twice as fast as bfloat16, and close to it."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)


@recipe
class ChatRecipe:
    """`baicai chat`: a conversation."""

    model: str
    system: str = ""
    leaves: list[str] | None = None
    """Leaves that are on at first; default: all."""
    weights: Literal["stored", "int8"] = "stored"
    """Int8 is about twice as fast as bfloat16, and close to it."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)


def generate_text(config: GenerateRecipe, as_json: bool) -> None:
    """Print a continuation as it is made, or everything as JSON."""
    model = open_model(config.model, config.weights)
    if config.chat:
        messages = [Message("system", config.system)] if config.system else []
        prompt = chat_prompt(model, [*messages, Message("user", config.prompt)])
    else:
        prompt = text_prompt(model, config.prompt)
    pieces = stream_text(model, prompt, config.sampling, config.leaves)
    if as_json:
        listed = [piece._asdict() for piece in pieces]
        click.echo(json.dumps({"text": "".join(piece["text"] for piece in listed), "pieces": listed}))
        return
    console = Console(highlight=False)
    stream(console, pieces, leaf_colours(list(model.leaves)))


def stream(console: Console, pieces: Iterable[TextChunk], colours: dict[str, str]) -> str:
    """Print pieces in their leaves' colours as they come and return the text."""
    parts = []
    for piece in pieces:
        parts.append(piece.text)
        console.print(Text(piece.text, style=colours[piece.leaf] if piece.leaf else ""), end="", soft_wrap=True)
    console.print()
    return "".join(parts)


class Conversation:
    """A chat's state: what was said, which leaves are on, how to sample."""

    def __init__(self, model: SparseModel, config: ChatRecipe, console: Console) -> None:
        self.model, self.config, self.console = model, config, console
        self.sampling = config.sampling
        self.on = set(model.leaves if config.leaves is None else config.leaves)
        model.network.leaf_mask(self.on)
        self.colours = leaf_colours(list(model.leaves))
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = [Message("system", self.config.system)] if self.config.system else []

    def ask(self, question: str) -> None:
        """Answer a question, streamed."""
        self.messages.append(Message("user", question))
        pieces = stream_text(self.model, chat_prompt(self.model, self.messages), self.sampling, self.on)
        said = stream(self.console, pieces, self.colours)
        self.messages.append(Message("assistant", said))

    def command(self, line: str) -> bool:
        """Carry out a line that begins with a slash; False ends the chat."""
        word, *rest = line.split()
        if word in ("/quit", "/exit"):
            return False
        if word == "/reset":
            self.reset()
        elif word == "/leaves":
            self._leaves(rest)
        elif word == "/set" and len(rest) == 1 and "=" in rest[0]:
            key, _, value = rest[0].partition("=")
            self.sampling = from_table(SamplingConfig, to_table(self.sampling) | {key: value}, "/set")
        else:
            self.console.print(HELP)
        return True

    def _leaves(self, rest: list[str]) -> None:
        if len(rest) == 2 and rest[1] in ("on", "off"):
            if rest[0] not in self.model.leaves:
                raise ConfigError(
                    f"there is no leaf '{rest[0]}': this model has {', '.join(self.model.leaves) or 'none'}"
                )
            (self.on.add if rest[1] == "on" else self.on.discard)(rest[0])
        elif rest:
            raise ConfigError("write /leaves NAME on, or /leaves NAME off")
        for name in self.model.leaves:
            self.console.print(Text(f"{'●' if name in self.on else '○'} {name}", style=self.colours[name]))
        if not self.model.leaves:
            self.console.print("this model has no leaves")


def chat(config: ChatRecipe) -> None:
    """Read lines until the end of input or /quit; an error in one line does not end the chat."""
    import readline  # noqa: F401  (gives input() history and editing)

    model = open_model(config.model, config.weights)
    console = Console(highlight=False)
    talk = Conversation(model, config, console)
    console.print(f"{len(model.leaves)} leaves; /help says what else you can type.")
    talk.command("/leaves")
    prompt = "you: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        try:
            if line.startswith("/"):
                if not talk.command(line):
                    return
            elif line:
                talk.ask(line)
        except BaicaiError as error:
            console.print(f"error: {error}", style="red")
