"""Conversations of questions and answers, with or without the facts in advance."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

from baicai.synthesis.phrasing import Voice

W = TypeVar("W")
Chat = list[tuple[str, str]]


class Turn(NamedTuple):
    """A question, its answer, the facts behind the answer, and the words that an evaluation checks."""

    question: str
    answer: str
    facts: tuple[str, ...] = ()
    expected: str = ""


Question = Callable[[Voice, W], Turn]


class Manners(NamedTuple):
    """Phrases of a language that open, link and close a conversation, each with choices."""

    greeting: str
    system: str
    reminder: str
    dictation: str
    noted: str
    link: str
    thanks: str
    welcome: str
    space: str = " "


def converse(
    v: Voice, turns: Sequence[Turn], other_facts: Collection[str], manners: Manners, fact_probability: float
) -> Chat:
    """Return a chat as (role, content) pairs.

    With probability `fact_probability`, it begins with the facts behind the answers, mixed with the other facts.
    """
    chat: Chat = []
    opening = v.say(manners.greeting)
    facts = sorted({*other_facts, *(fact for turn in turns for fact in turn.facts)})
    if facts and v.chance(fact_probability):
        v.rng.shuffle(facts)
        gap = v.pick((manners.space, "\n"))
        text = gap.join(facts)
        variant = v.number(0, 3)
        if variant < 2:
            chat.append(("system", v.say(manners.system) + manners.space + text))
        elif variant == 2:
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
    """Return `count` questions, cycling through the kinds, with the words that a correct answer must contain."""
    probes: dict[str, str] = {}
    while len(probes) < count:
        turn = questions[len(probes) % len(questions)](v, world)
        if turn.expected and turn.expected in turn.answer:
            probes.setdefault(turn.question, turn.expected.lstrip("€£$"))
    return list(probes.items())
