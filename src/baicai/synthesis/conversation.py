"""A conversation made of questions and answers, with the facts told beforehand or not."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

from baicai.synthesis.phrasing import Voice

W = TypeVar("W")
Chat = list[tuple[str, str]]


class Turn(NamedTuple):
    """A question, its answer, the facts the answer rests on, and the words in it that a listener would check."""

    question: str
    answer: str
    facts: tuple[str, ...] = ()
    expected: str = ""


Question = Callable[[Voice, W], Turn]


class Manners(NamedTuple):
    """How people of a language open, link and close a conversation, each as choices."""

    greeting: str
    system: str
    reminder: str
    dictation: str
    noted: str
    link: str
    thanks: str
    welcome: str
    space: str = " "


def converse(v: Voice, turns: Sequence[Turn], other_facts: Collection[str], manners: Manners, told: float) -> Chat:
    """Return a chat as (role, content) pairs.

    With probability `told` it begins with what the answers rest on, among the other facts, in any order.
    """
    chat: Chat = []
    opening = v.say(manners.greeting)
    facts = sorted({*other_facts, *(fact for turn in turns for fact in turn.facts)})
    if facts and v.chance(told):
        v.rng.shuffle(facts)
        gap = v.pick((manners.space, "\n"))
        text = gap.join(facts)
        place = v.number(0, 3)
        if place < 2:
            chat.append(("system", v.say(manners.system) + manners.space + text))
        elif place == 2:
            opening = v.say(manners.reminder) + gap + text + gap
        else:
            chat += [("user", v.say(manners.dictation) + manners.space + text), ("assistant", v.say(manners.noted))]
            opening = ""
    for turn in turns:
        chat += [("user", opening + turn.question), ("assistant", turn.answer)]
        opening = v.say(manners.link)
    if v.chance(0.15):
        chat += [("user", v.say(manners.thanks)), ("assistant", v.say(manners.welcome))]
    return chat


def probe(v: Voice, world: W, questions: Sequence[Question[W]], count: int) -> list[tuple[str, str]]:
    """Return so many questions, each kind in turn, with words that the answer of one who knows must hold."""
    found: dict[str, str] = {}
    while len(found) < count:
        turn = questions[len(found) % len(questions)](v, world)
        if turn.expected and turn.expected in turn.answer:
            found.setdefault(turn.question, turn.expected.lstrip("€£$"))
    return list(found.items())
