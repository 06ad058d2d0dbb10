"""Deutsch im Alltag: letters, notices and talk of a house, an office and a family."""

import random
from collections.abc import Mapping

from baicai.data.generators.german_pages import PAGES
from baicai.data.generators.german_talk import PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.data.generators.german_world import ALL_ITEMS, DAYS, World
from baicai.data.generators.phrasing import Turn, Voice

#: Parameters beside documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}
Chat = list[tuple[str, str]]


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Write a text, or a chat as (role, content) pairs."""
    seed = params["world"]
    world, voice = World(f"{rng.random()}" if seed == "many" else f"de{seed}"), Voice(rng)
    if rng.random() < 0.45:
        page = voice.pick(PAGES)(voice, world)
        return page if rng.random() < 0.75 else page + "\n\n" + voice.pick(PAGES)(voice, world)
    return _chat(voice, world, told=0.55 if seed == "many" else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that only someone who knows this world can answer, with words that the answer must hold."""
    voice, home = Voice(random.Random(f"probes/{world}/{seed}")), World(f"de{world}")
    found: dict[str, str] = {}
    while len(found) < count:
        turn = PRIVATE[len(found) % len(PRIVATE)](voice, home)
        if turn.expected and turn.expected in turn.answer:
            found.setdefault(turn.question, turn.expected)
    return list(found.items())


def _chat(v: Voice, w: World, told: float) -> Chat:
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    asker = v.pick(w.names)
    chat: Chat = []
    opening = v.say("[||||Hallo! |Guten Morgen! |Guten Tag. |Hier ist {n}. |Kurze Frage: |Eine Frage: ]", n=asker)
    if v.chance(told):
        facts = _facts(v, w, turns)
        if v.chance(0.5):
            chat.append(
                (
                    "system",
                    v.say(
                        "[Du hilfst Familie {s} im Alltag.|Antworte kurz und richtig.|"
                        "Das weißt du über das Haus {a} und die Familie {s}:|Merke dir diese Angaben.] ",
                        s=w.surname,
                        a=w.address,
                    )
                    + facts,
                )
            )
        elif v.chance(0.5):
            opening = (
                v.say("[Das ist bekannt:|Ein paar Angaben vorweg:|Zur Erinnerung:] ") + facts + v.pick((" ", "\n"))
            )
        else:
            chat += [
                (
                    "user",
                    v.say("[Bitte merke dir Folgendes.|Ich schreibe dir ein paar Dinge auf.|Notiere bitte:] ") + facts,
                ),
                (
                    "assistant",
                    v.say(
                        "[Ist notiert.|Danke, das merke ich mir.|Gut, ich habe alles.|"
                        "In Ordnung. Was möchtest du wissen?]"
                    ),
                ),
            ]
            opening = ""
    for turn in turns:
        chat += [("user", opening + turn.question), ("assistant", turn.answer)]
        opening = v.say("[||||Danke. |Und noch etwas: |Gut. |Alles klar. |Noch eine Frage: ]")
    if v.chance(0.15):
        chat += [
            ("user", v.say("[Vielen Dank!|Danke, das war alles.|Prima.|Danke schön!]")),
            ("assistant", v.say("[Gern geschehen.|Bitte sehr.|Schönen Tag noch!|Gern, bis bald.]")),
        ]
    return chat


def _facts(v: Voice, w: World, turns: list[Turn]) -> str:
    facts = {fact for turn in turns for fact in turn.facts}
    for _ in range(v.number(0, 4)):
        kind = v.number(0, 2)
        facts.add(
            fact_price(v, w, v.pick(ALL_ITEMS), v.pick(w.shops))
            if kind == 0
            else fact_place(v, w, v.pick(ALL_ITEMS))
            if kind == 1
            else fact_dinner(v, w, v.pick(DAYS))
        )
    ordered = sorted(facts)
    v.rng.shuffle(ordered)
    return v.pick((" ", "\n")).join(ordered)
