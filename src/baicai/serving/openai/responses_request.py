"""What `/v1/responses` is asked, and what that is as a conversation. Nothing is kept between requests."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError
from baicai.serving.openai.preprocessing import Plan, plan_chat
from baicai.serving.openai.requests import (
    MAX_TOOLS,
    Body,
    ChatRequest,
    Function,
    LeafChoice,
    Many,
    Name,
    Penalty,
    Schema,
    Seed,
    refuse_what_is_not_carried_out,
)
from baicai.serving.served_model import ServedModel

NEUTRAL: dict[str, tuple[object, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (False,),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
    "max_tool_calls": (),
    "include": ([], ["reasoning.encrypted_content"]),
}
"""Fields that are not carried out, and the values with which they ask for nothing."""
_NAMES = (
    (r"^response_format\.json_schema\.", "text.format."),
    (r"^response_format", "text.format"),
    (r"^messages", "input"),
    (r"^max_tokens", "max_output_tokens"),
    (r"^(tools\[\d+\])\.function\.", r"\1."),
)
"""What parameters are called there, and here."""


class InputText(Body):
    """Text in a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str


Texts = Annotated[
    Many[InputText],
    BeforeValidator(
        lambda value: [{"type": "text", "text": value}] if isinstance(value, str) else value,
        json_schema_input_type=str | list[InputText],
    ),
]


class InputMessage(Body):
    """What somebody has said."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Texts


class FunctionCall(Body):
    """A call that the assistant has made."""

    type: Literal["function_call"]
    name: Name
    arguments: str


class FunctionOutput(Body):
    """What a call has given back."""

    type: Literal["function_call_output"]
    output: Texts


def _item(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else ""
    return f"<{kind}>" if kind in ("function_call", "function_call_output") else "<message>"


Item = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[FunctionCall, Tag("<function_call>")]
    | Annotated[FunctionOutput, Tag("<function_call_output>")],
    Discriminator(_item),
]


class TextFormat(Body):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class TextOptions(Body):
    """How the answer is written."""

    format: TextFormat = TextFormat()


class OfFunction(Body):
    """What is said of a function."""

    type: Literal["function"]


class ResponseTool(Function, OfFunction):  # in this order its type is checked first: other tools have no name
    """A tool that the answer may use."""


class ChosenTool(OfFunction):
    """The tool that the answer must use."""

    name: Name


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")] | Annotated[ChosenTool, Tag("<named>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<named>"),
]


class ResponseRequest(Body):
    """`/v1/responses`."""

    model: Name
    input: Annotated[
        Many[Item],
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
    def _refuse(cls, values: Any) -> Any:
        return refuse_what_is_not_carried_out(values, NEUTRAL)

    @cached_property
    def chat(self) -> ChatRequest:
        """The same as a conversation."""
        begin = [{"role": "system", "content": self.instructions}] if self.instructions else []
        form, chosen = self.text.format, self.tool_choice
        asked = {
            "model": self.model,
            "messages": begin + [_message(item) for item in self.input],
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "tools": [{"type": "function", "function": tool.model_dump()} for tool in self.tools],
            "tool_choice": (
                {"type": "function", "function": {"name": chosen.name}} if isinstance(chosen, ChosenTool) else chosen
            ),
            "response_format": {"type": form.type}
            | ({"json_schema": {"schema": form.schema_ or {}}} if form.type == "json_schema" else {}),
            "leaves": self.leaves.model_dump(exclude_none=True) if self.leaves else None,
        }
        return ChatRequest.model_validate(asked)


async def plan_response(
    request: ResponseRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> Plan:
    """Return what a request for a response asks for.

    Raises: ApiError, with the names that parameters have here
    """
    try:
        return await plan_chat(request.chat, served, alias, config, client)
    except ApiError as error:
        param = error.param or ""
        for there, here in _NAMES:
            param = re.sub(there, here, param)
        told = str(error).replace(f"'{error.param}'", f"'{param}'").replace("in the messages", "in the input")
        raise ApiError(told, param=param or None, code=error.code, status=error.status) from None


def _message(item: InputMessage | FunctionCall | FunctionOutput) -> dict[str, Any]:
    if isinstance(item, FunctionCall):
        return {"role": "assistant", "tool_calls": [{"function": {"name": item.name, "arguments": item.arguments}}]}
    role, parts = ("tool", item.output) if isinstance(item, FunctionOutput) else (item.role, item.content)
    return {"role": role, "content": "".join(part.text for part in parts)}
