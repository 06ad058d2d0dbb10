"""Extract the markers of an untrusted chat template by rendering it in a process with little time and memory."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from baicai.config import from_table, to_table
from baicai.data.chat_template import ChatFormat, Turn
from baicai.data.document import Message

Render = Callable[..., str]
SYSTEM, FIRST, ANSWER, SECOND = (
    Message("system", "qsystemq"),
    Message("user", "qfirstq"),
    Message("assistant", "qanswerq"),
    Message("user", "qsecondq"),
)
TIMEOUT_SECONDS, MAX_MEMORY_BYTES = 20, 2 * 1024**3
"""Limits of the subprocess."""


def chat_format(template: str, names: Mapping[str, str], begin: str, ends: list[str]) -> ChatFormat | None:
    """Return the markers of a chat template, or None if it does more than add markers or exceeds the limits."""
    if not template:
        return None
    command = [sys.executable, "-P", "-m", "baicai.data.chat_template_probe"]
    arguments = json.dumps([template, names, begin, ends])
    try:
        result = subprocess.run(
            command, input=arguments, capture_output=True, encoding="utf-8", timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    return from_table(ChatFormat, json.loads(result.stdout), "chat template") if result.returncode == 0 else None


def _probe(template: str, names: Mapping[str, str], begin: str, ends: list[str]) -> ChatFormat:
    render = _renderer(template, names)
    chat = _markers(render, begin, ends)
    for messages in ([FIRST], [FIRST, ANSWER, SECOND]):
        if _render_format(chat, messages) != render(messages, True).removeprefix(begin):
            raise ValueError("the template does more than add markers")
    return chat


def _renderer(template: str, names: Mapping[str, str]) -> Render:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    jinja_template = environment.from_string(template, globals={"raise_exception": refuse})

    def render(messages: Sequence[Message], answer: bool = False) -> str:
        dicts = [{"role": message.role, "content": message.content} for message in messages]
        return jinja_template.render(messages=dicts, add_generation_prompt=answer, **names)

    return render


def _markers(render: Render, begin: str, ends: list[str]) -> ChatFormat:
    """Return the markers around the messages that a template renders.

    Raises: ValueError or jinja2.TemplateError unless each message is rendered exactly once and in order.
    """
    import jinja2

    first, prompted = render([FIRST]), render([FIRST], True)
    head, user_after = first.split(FIRST.content)
    if not prompted.startswith(first):
        raise ValueError("the generation prompt does not follow the question")
    answer_before, turn, _ = _between(render([FIRST, ANSWER, SECOND]), FIRST, ANSWER, SECOND)
    try:
        user_before = _between(render([FIRST, SECOND]), FIRST, SECOND)[0].removeprefix(user_after)
    except jinja2.TemplateError:  # the template requires alternating roles
        user_before = turn.removeprefix(render([FIRST, ANSWER]).split(ANSWER.content)[1])
    answer_before = answer_before.removeprefix(user_after)
    answer_after = turn.removesuffix(user_before)
    ask = prompted.removeprefix(first)
    try:
        before, rest = render([SYSTEM, FIRST]).split(SYSTEM.content)
        after = rest.split(FIRST.content)[0]
        has_turn = bool(user_before) and after.endswith(user_before)
        system = Turn(before=before.removeprefix(begin), after=after.removesuffix(user_before)) if has_turn else None
    except jinja2.TemplateError:
        system = None
    return ChatFormat(
        begin=begin,
        end=ends[0],
        stop=list(dict.fromkeys([*ends, *([answer_after.strip()] if answer_after.strip() else [])])),
        opening=head.removesuffix(user_before).removeprefix(begin),
        system=system,
        user=Turn(before=user_before, after=user_after),
        assistant=Turn(before=answer_before, after=answer_after),
        ask=None if ask == answer_before else ask,
    )


def _between(text: str, *messages: Message) -> list[str]:
    """Return the text between messages and the text after the last one."""
    parts = []
    for message in messages:
        before, text = text.split(message.content)
        parts.append(before)
    return [*parts[1:], text]


def _render_format(chat: ChatFormat, messages: Sequence[Message]) -> str:
    return "".join(part for part, _ in chat.parts(messages, answer=True)).removeprefix(chat.begin)


if __name__ == "__main__":
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    print(json.dumps(to_table(_probe(*json.loads(sys.stdin.read())))))
