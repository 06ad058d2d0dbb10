"""What requests say: OpenAI's fields that are understood here, and ours. Others are ignored, as OpenAI does.

Fields that would change an answer and are not carried out are refused, not ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from baicai.serving.refusals import ApiError

MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
MAX_ALTERNATIVES = 20
MAX_NAME = 256
NEUTRAL: dict[str, tuple[object, ...]] = {
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "suffix": ("",),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "prediction": (),
    "web_search_options": (),
}
"""Fields that are not carried out, and the values with which they ask for nothing."""

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(max_length=MAX_NAME)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _prompts(value: object) -> object:
    one = isinstance(value, str) or (isinstance(value, list) and all(type(token) is int for token in value))
    return [value] if one else value


def _form(value: object) -> str:
    return "<ids>" if isinstance(value, list) else "<text>"


Stop = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
Prompt = Annotated[Annotated[str, Tag("<text>")] | Annotated[list[TokenId], Tag("<ids>")], Discriminator(_form)]
Prompts = Annotated[
    list[Prompt],
    Field(min_length=1),
    BeforeValidator(_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]


class Body(BaseModel):
    """Values of the types they are said to have."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)


class LeafChoice(Body):
    """Which leaves are on: `only` these, or what the model's name says, with some `on` and some `off`."""

    model_config = ConfigDict(extra="forbid")

    only: list[Name] | None = None
    on: list[Name] = []
    off: list[Name] = []

    @model_validator(mode="after")
    def _check(self) -> "LeafChoice":
        if self.only is not None and (self.on or self.off):
            raise ValueError("say either 'only', or 'on' and 'off'")
        return self


class StreamOptions(Body):
    """What a stream says beside the answer."""

    include_usage: bool = False


class Generation(Body):
    """What requests for an answer have in common."""

    model: Name
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, lt=2**31)] = 0
    seed: Seed | None = None
    n: Annotated[int, Field(ge=1)] = 1
    stop: Stop = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    leaves: LeafChoice | None = None
    routing: bool = False
    """Tell of each token which leaves gave it."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, values: Any) -> Any:
        for name, neutral in NEUTRAL.items():
            if name in values and values[name] not in neutral:
                told = f"Unsupported parameter: '{name}' is not carried out by this server: leave it out."
                raise ApiError(told, param=name, code="unsupported_parameter")
        return values


class TextPart(Body):
    """Text in a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], BeforeValidator(_parts, json_schema_input_type=str | list[TextPart])]

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(part.text for part in self.content)


class ChatRequest(Generation):
    """`/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None


class CompletionRequest(Generation):
    """`/v1/completions`."""

    prompt: Prompts = [""]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1)] | None = None


class TokenizeRequest(Body):
    """`/tokenize`."""

    model: Name
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
