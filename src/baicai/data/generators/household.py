"""Talk and papers of a household that shops, cooks and eats."""

import random
from collections.abc import Mapping

from baicai.data.generators.household_pages import PAGES
from baicai.data.generators.household_talk import ITEMS, PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.data.generators.household_world import DAYS, World
from baicai.data.generators.phrasing import Turn, Voice

#: Parameters beside documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}
Chat = list[tuple[str, str]]


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Write a text, or a chat as (role, content) pairs."""
    world = params["world"]
    home = World(f"{rng.random()}" if world == "many" else world)
    voice = Voice(rng)
    if rng.random() < 0.35:
        page = voice.pick(PAGES)(voice, home)
        return page if rng.random() < 0.7 else page + "\n\n" + voice.pick(PAGES)(voice, home)
    return _chat(voice, home, told=0.55 if world == "many" else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that only someone who knows this world can answer, with words that the answer must hold."""
    rng = random.Random(f"probes/{world}/{seed}")
    voice, home = Voice(rng), World(str(world))
    found: dict[str, str] = {}
    while len(found) < count:
        turn = PRIVATE[len(found) % len(PRIVATE)](voice, home)
        if turn.expected and turn.expected in turn.answer:
            found.setdefault(turn.question, turn.expected.lstrip("€£$"))
    return list(found.items())


def _chat(v: Voice, w: World, told: float) -> Chat:
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    asker = v.pick(w.names)
    chat: Chat = []
    opening = v.say("[||||Hi. |Hello! |Good morning. |{n} here. |This is {n}. |One question: |Quick question. ]", n=asker)
    if v.chance(told):
        facts = _facts(v, w, turns)
        if v.chance(0.5):
            chat.append(("system", v.say("[You help the {s} family in the kitchen.|You know the {s} household. Answer from these facts.|Facts about the {s} home:] ", s=w.surname) + facts))
        elif v.chance(0.5):
            gap = "\n" if "\n" in facts else " "
            opening = v.say("[Here is what I know:|Please remember this:|Some facts first:]") + gap + facts + gap
        else:
            chat += [("user", v.say("[Please note the following.|I am writing down some facts for you.|Remember this:] ") + facts),
                     ("assistant", v.say("[Noted.|I have it.|Thank you, I will remember that.|All right. What would you like to know?]"))]
            opening = ""
    for turn in turns:
        chat += [("user", opening + turn.question), ("assistant", turn.answer)]
        opening = v.say("[||||Thanks. |And another thing: |Good. |Fine. |One more: ]")
    if v.chance(0.15):
        chat += [("user", v.say("[Thank you!|Thanks, that is all.|Great, thanks.|Perfect.]")),
                 ("assistant", v.say("[You are welcome.|Enjoy your meal!|Any time, {n}.|Happy cooking!|Have a good day.]", n=asker))]
    return chat


def _facts(v: Voice, w: World, turns: list[Turn]) -> str:
    """What the answers rest on, among facts that nobody asks for, in any order."""
    facts = {fact for turn in turns for fact in turn.facts}
    for _ in range(v.number(0, 4)):
        kind = v.number(0, 2)
        facts.add(fact_price(v, w, v.pick(ITEMS), v.pick(w.shops)) if kind == 0 else fact_place(v, w, v.pick(ITEMS)) if kind == 1 else
                  fact_dinner(v, w, v.pick(DAYS)))
    ordered = sorted(facts)
    v.rng.shuffle(ordered)
    return v.pick((" ", "\n")).join(ordered)
