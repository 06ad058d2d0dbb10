"""`baicai generate` and `baicai chat`: text in the terminal, coloured by the leaf that produced it."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import ClassVar, Literal

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

HELP = """/leaves            list the leaves and whether each is on
/leaves NAME on    turn a leaf on (or off)
/set KEY=VALUE     change sampling: temperature, top_p, top_k, max_tokens, seed
/reset             forget the conversation
/quit              leave"""


@recipe
class GenerateRecipe:
    """`baicai generate`: answer one question, or continue one text."""

    RENAMED: ClassVar[dict[str, str]] = {"system": "system_prompt"}

    model: str
    prompt: str
    chat: bool = True
    """Treat the prompt as a user's message; if false, continue it as plain text."""
    system_prompt: str = ""
    leaves: list[str] | None = None
    """Names of the leaves to use; all by default."""
    weights: Literal["stored", "int8"] = "stored"
    """int8 is about twice as fast as bfloat16, with nearly the same output."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)


@recipe
class ChatRecipe:
    """`baicai chat`: hold a conversation."""

    RENAMED: ClassVar[dict[str, str]] = {"system": "system_prompt"}

    model: str
    system_prompt: str = ""
    leaves: list[str] | None = None
    """Names of the leaves that are on at the start; all by default."""
    weights: Literal["stored", "int8"] = "stored"
    """int8 is about twice as fast as bfloat16, with nearly the same output."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)


def generate_text(config: GenerateRecipe, as_json: bool) -> None:
    """Print the text as it is generated, or all of it as JSON."""
    model = open_model(config.model, config.weights)
    if config.chat:
        messages = [Message("system", config.system_prompt)] if config.system_prompt else []
        prompt = chat_prompt(model, [*messages, Message("user", config.prompt)])
    else:
        prompt = text_prompt(model, config.prompt)
    chunks = stream_text(model, prompt, config.sampling, config.leaves)
    if as_json:
        rows = [chunk._asdict() for chunk in chunks]
        click.echo(json.dumps({"text": "".join(row["text"] for row in rows), "pieces": rows}))
        return
    console = Console(highlight=False)
    print_chunks(console, chunks, leaf_colours(list(model.leaves)))


def print_chunks(console: Console, chunks: Iterable[TextChunk], colours: dict[str, str]) -> str:
    """Print chunks in the colours of their leaves as they arrive, and return the text."""
    texts = []
    for chunk in chunks:
        texts.append(chunk.text)
        console.print(Text(chunk.text, style=colours[chunk.leaf] if chunk.leaf else ""), end="", soft_wrap=True)
    console.print()
    return "".join(texts)


class Conversation:
    """State of a chat: its messages, the leaves that are on, and the sampling settings."""

    def __init__(self, model: SparseModel, config: ChatRecipe, console: Console) -> None:
        self.model, self.config, self.console = model, config, console
        self.sampling = config.sampling
        self.active_leaves = set(model.leaves if config.leaves is None else config.leaves)
        model.network.leaf_mask(self.active_leaves)
        self.colours = leaf_colours(list(model.leaves))
        self.reset()

    def reset(self) -> None:
        """Start again with an empty conversation."""
        self.messages = [Message("system", self.config.system_prompt)] if self.config.system_prompt else []

    def ask(self, question: str) -> None:
        """Send a user message and print the reply as it is generated."""
        self.messages.append(Message("user", question))
        chunks = stream_text(self.model, chat_prompt(self.model, self.messages), self.sampling, self.active_leaves)
        reply = print_chunks(self.console, chunks, self.colours)
        self.messages.append(Message("assistant", reply))

    def command(self, line: str) -> bool:
        """Run a slash command. Returns False if it ends the chat."""
        name, *words = line.split()
        if name in ("/quit", "/exit"):
            return False
        if name == "/reset":
            self.reset()
        elif name == "/leaves":
            self._leaves(words)
        elif name == "/set" and len(words) == 1 and "=" in words[0]:
            key, _, value = words[0].partition("=")
            self.sampling = from_table(SamplingConfig, to_table(self.sampling) | {key: value}, "/set")
        else:
            self.console.print(HELP)
        return True

    def _leaves(self, words: list[str]) -> None:
        if len(words) == 2 and words[1] in ("on", "off"):
            if words[0] not in self.model.leaves:
                leaves = ", ".join(self.model.leaves) or "none"
                raise ConfigError(f"leaf '{words[0]}' not found: this model has {leaves}")
            (self.active_leaves.add if words[1] == "on" else self.active_leaves.discard)(words[0])
        elif words:
            raise ConfigError("write /leaves NAME on, or /leaves NAME off")
        for name in self.model.leaves:
            self.console.print(Text(f"{'●' if name in self.active_leaves else '○'} {name}", style=self.colours[name]))
        if not self.model.leaves:
            self.console.print("this model has no leaves")


def chat(config: ChatRecipe) -> None:
    """Read lines until end of input or /quit. An error in one line is printed and does not end the chat."""
    import readline  # noqa: F401  (gives input() line editing and history)

    model = open_model(config.model, config.weights)
    console = Console(highlight=False)
    conversation = Conversation(model, config, console)
    console.print(f"{len(model.leaves)} leaves; type /help for commands.")
    conversation.command("/leaves")
    prompt = "you: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        try:
            if line.startswith("/"):
                if not conversation.command(line):
                    return
            elif line:
                conversation.ask(line)
        except BaicaiError as error:
            console.print(f"error: {error}", style="red")
