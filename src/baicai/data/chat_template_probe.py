"""The markers of a stranger's chat template, found by rendering it in a process that has little time and memory."""

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
SECONDS, BYTES = 20, 2 * 1024**3
"""What the process may take."""


def chat_format(template: str, names: Mapping[str, str], begin: str, ends: list[str]) -> ChatFormat | None:
    """Return the markers of a chat template; None if it is not made of markers alone, or takes too much."""
    if not template:
        return None
    command, told = (
        [sys.executable, "-P", "-m", "baicai.data.chat_template_probe"],
        json.dumps([template, names, begin, ends]),
    )
    try:
        done = subprocess.run(command, input=told, capture_output=True, encoding="utf-8", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return from_table(ChatFormat, json.loads(done.stdout), "chat template") if done.returncode == 0 else None


def _in_this_process(template: str, names: Mapping[str, str], begin: str, ends: list[str]) -> ChatFormat:
    render = _renderer(template, names)
    found = _markers(render, begin, ends)
    for talk in ([FIRST], [FIRST, ANSWER, SECOND]):
        if _spelt(found, talk) != render(talk, True).removeprefix(begin):
            raise ValueError("it is not made of markers alone")
    return found


def _renderer(template: str, names: Mapping[str, str]) -> Render:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    compiled = world.from_string(template, globals={"raise_exception": refuse})

    def render(talk: Sequence[Message], answer: bool = False) -> str:
        messages = [{"role": message.role, "content": message.content} for message in talk]
        return compiled.render(messages=messages, add_generation_prompt=answer, **names)

    return render


def _markers(render: Render, begin: str, ends: list[str]) -> ChatFormat:
    """Return the markers around the messages that a template renders.

    Raises: ValueError or jinja2.TemplateError if the messages are not there in order, once each.
    """
    import jinja2

    first, asked = render([FIRST]), render([FIRST], True)
    head, user_after = first.split(FIRST.content)
    if not asked.startswith(first):
        raise ValueError("what asks for an answer does not follow the question")
    answer_before, turn, _ = _between(render([FIRST, ANSWER, SECOND]), FIRST, ANSWER, SECOND)
    try:
        user_before = _between(render([FIRST, SECOND]), FIRST, SECOND)[0].removeprefix(user_after)
    except jinja2.TemplateError:  # it wants the roles to take turns
        user_before = turn.removeprefix(render([FIRST, ANSWER]).split(ANSWER.content)[1])
    answer_before = answer_before.removeprefix(user_after)
    answer_after = turn.removesuffix(user_before)
    ask = asked.removeprefix(first)
    try:
        told = render([SYSTEM, FIRST])
        before, rest = told.split(SYSTEM.content)
        after = rest.split(FIRST.content)[0]
        speaks = bool(user_before) and after.endswith(user_before)
        system = Turn(before=before.removeprefix(begin), after=after.removesuffix(user_before)) if speaks else None
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
    """Return what stands between messages, and what follows the last."""
    parts = []
    for message in messages:
        before, text = text.split(message.content)
        parts.append(before)
    return [*parts[1:], text]


def _spelt(chat: ChatFormat, talk: Sequence[Message]) -> str:
    return "".join(part for part, _ in chat.parts(talk, answer=True)).removeprefix(chat.begin)


if __name__ == "__main__":
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    print(json.dumps(to_table(_in_this_process(*json.loads(sys.stdin.read())))))
