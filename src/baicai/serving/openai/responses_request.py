"""Request model of `/v1/responses`, and its conversion to a chat request. Nothing is stored between requests."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError
from baicai.serving.openai.preprocessing import PreparedRequest, prepare_chat
from baicai.serving.openai.requests import (
    MAX_TOOLS,
    ChatRequest,
    FailFastList,
    Function,
    Identifier,
    LeafChoice,
    Penalty,
    RequestModel,
    Schema,
    Seed,
    reject_unsupported,
    tool_choice_tag,
)
from baicai.serving.served_model import ServedModel

UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (False,),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
    "max_tool_calls": (),
    "include": ([], ["reasoning.encrypted_content"]),
}
"""Unsupported fields, with the values that have no effect and are therefore accepted."""
_PARAM_NAMES = (
    (r"^response_format\.json_schema\.", "text.format."),
    (r"^response_format", "text.format"),
    (r"^messages", "input"),
    (r"^max_tokens", "max_output_tokens"),
    (r"^(tools\[\d+\])\.function\.", r"\1."),
)
"""Patterns of parameter names in a chat request, with the corresponding names in a request for a response."""


class InputText(RequestModel):
    """A text part of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str


TextParts = Annotated[
    FailFastList[InputText],
    BeforeValidator(
        lambda value: [{"type": "text", "text": value}] if isinstance(value, str) else value,
        json_schema_input_type=str | list[InputText],
    ),
]


class InputMessage(RequestModel):
    """A message of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: TextParts


class FunctionCall(RequestModel):
    """A function call that the assistant made."""

    type: Literal["function_call"]
    name: Identifier
    arguments: str


class FunctionOutput(RequestModel):
    """The result of a function call."""

    type: Literal["function_call_output"]
    output: TextParts


def _item_tag(value: object) -> str:
    item_type = value.get("type") if isinstance(value, dict) else None
    return f"<{item_type}>" if item_type in ("function_call", "function_call_output") else "<message>"


Item = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[FunctionCall, Tag("<function_call>")]
    | Annotated[FunctionOutput, Tag("<function_call_output>")],
    Discriminator(_item_tag),
]


class TextFormat(RequestModel):
    """The format of the output text."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class TextOptions(RequestModel):
    """Options of the output text."""

    format: TextFormat = TextFormat()


class FunctionTyped(RequestModel):
    """An object whose type is `function`."""

    type: Literal["function"]


class ResponseTool(Function, FunctionTyped):  # with these bases the type is checked first: other tools have no name
    """A tool that the model may use."""


class ChosenTool(FunctionTyped):
    """The tool that the model must use."""

    name: Identifier


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")] | Annotated[ChosenTool, Tag("<named>")],
    Discriminator(tool_choice_tag),
]


class ResponseRequest(RequestModel):
    """Body of `POST /v1/responses`."""

    model: Identifier
    input: Annotated[
        FailFastList[Item],
        Field(min_length=1),
        BeforeValidator(
            lambda value: [{"role": "user", "content": value}] if isinstance(value, str) else value,
            json_schema_input_type=str | list[Item],
        ),
    ]
    instructions: str = ""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    seed: Seed | None = None
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    stream: bool = False
    text: TextOptions = TextOptions()
    tools: list[ResponseTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: ToolChoice = "auto"
    metadata: dict[str, str] = Field(default_factory=dict)
    leaves: LeafChoice | None = None

    @model_validator(mode="before")
    @classmethod
    def _reject_unsupported(cls, values: Any) -> Any:
        return reject_unsupported(values, UNSUPPORTED)

    @cached_property
    def chat(self) -> ChatRequest:
        """The equivalent chat request."""
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        text_format, choice = self.text.format, self.tool_choice
        json_schema = {"schema": text_format.schema_ or {}} if text_format.type == "json_schema" else None
        chat_request = {
            "model": self.model,
            "messages": system + [_chat_message(item) for item in self.input],
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "tools": [{"type": "function", "function": tool.model_dump()} for tool in self.tools],
            "tool_choice": (
                {"type": "function", "function": {"name": choice.name}} if isinstance(choice, ChosenTool) else choice
            ),
            "response_format": {"type": text_format.type, "json_schema": json_schema},
            "leaves": self.leaves.model_dump(exclude_none=True) if self.leaves else None,
        }
        return ChatRequest.model_validate(chat_request)


async def prepare_response(
    request: ResponseRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> PreparedRequest:
    """Prepare a request for a response.

    Raises: ApiError, with parameter names as in this request rather than in the chat request
    """
    try:
        return await prepare_chat(request.chat, served, alias, config, client)
    except ApiError as error:
        param = error.param or ""
        for chat_pattern, name in _PARAM_NAMES:
            param = re.sub(chat_pattern, name, param)
        message = str(error).replace(f"'{error.param}'", f"'{param}'").replace("in the messages", "in the input")
        raise ApiError(message, param=param or None, code=error.code, status=error.status) from None


def _chat_message(item: InputMessage | FunctionCall | FunctionOutput) -> dict[str, object]:
    if isinstance(item, FunctionCall):
        return {"role": "assistant", "tool_calls": [{"function": {"name": item.name, "arguments": item.arguments}}]}
    role, parts = ("tool", item.output) if isinstance(item, FunctionOutput) else (item.role, item.content)
    return {"role": role, "content": "".join(part.text for part in parts)}
