"""How a conversation is written: the markers around each message."""

from collections.abc import Iterator, Sequence

from baicai.config import recipe
from baicai.data.document import Message

END, SYSTEM, USER, ASSISTANT = SPECIALS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
SEPARATOR = "\n\n"
"""Between what the system says and the question, where they share a turn."""


@recipe
class Turn:
    """What stands before and after a message; names of special tokens in it mean those tokens."""

    before: str
    after: str


@recipe
class ChatFormat:
    """The markers of one tokenizer."""

    end: str
    """The token at the end of a document."""
    stop: list[str]
    """Tokens at which an answer ends."""
    begin: str = ""
    """What every text and every conversation starts with."""
    opening: str = ""
    """What a conversation starts with if the system does not speak first."""
    system: Turn | None
    """None: what the system says is put before the first question."""
    user: Turn
    assistant: Turn
    ask: str | None = None
    """What asks for the assistant's next message; None: what stands before it."""

    def parts(self, messages: Sequence[Message], *, answer: bool) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a conversation, and whether each is a marker.

        It ends as a document ends or, for an answer, where the assistant's next message starts.
        """
        yield self.begin, True
        if self.opening and not (self.system and messages and messages[0].role == "system"):
            yield self.opening, True
        told = last = ""
        for message in messages:
            turn = {"system": self.system, "user": self.user, "assistant": self.assistant}[message.role]
            if turn is None:
                told += message.content + SEPARATOR
                continue
            yield turn.before, True
            yield (told if message.role == "user" else "") + message.content, False
            yield turn.after, True
            told, last = "" if message.role == "user" else told, turn.after
        if told:
            yield from ((self.user.before, True), (told, False), (self.user.after, True))
        if answer:
            yield self.assistant.before if self.ask is None else self.ask, True
        elif self.end not in last:
            yield self.end, True


DEFAULT_CHAT_FORMAT = ChatFormat(
    end=END,
    stop=list(SPECIALS),
    system=Turn(before=SYSTEM, after=END),
    user=Turn(before=USER, after=END),
    assistant=Turn(before=ASSISTANT, after=END),
)
"""The markers of the tokenizers that `baicai tokenizer` makes."""
