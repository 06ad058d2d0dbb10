"""Deutsch im Alltag: letters, notices and talk of a house, an office and a family."""

import random
from collections.abc import Mapping

from baicai.data.generators.conversation import Chat, Manners, converse, probe
from baicai.data.generators.german_pages import PAGES
from baicai.data.generators.german_talk import PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.data.generators.german_world import ALL_ITEMS, DAYS, World
from baicai.data.generators.phrasing import Voice

#: Parameters beside documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Write a text, or a chat as (role, content) pairs."""
    many = params["world"] == "many"
    v, w = Voice(rng), World(str(rng.random()) if many else f"de{params['world']}")
    if v.chance(0.45):
        return "\n\n".join(v.pick(PAGES)(v, w) for _ in range(v.pick((1, 1, 2))))
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    others = {_any_fact(v, w) for _ in range(v.number(0, 4))}
    asker = v.pick(w.names)
    manners = Manners(
        greeting=f"[||||Hallo! |Guten Morgen! |Guten Tag. |Hier ist {asker}. |Kurze Frage: |Eine Frage: ]",
        system=f"[Du hilfst Familie {w.surname} im Alltag.|Antworte kurz und richtig.|Merke dir diese Angaben."
        f"|Das weißt du über das Haus {w.address} und die Familie {w.surname}:]",
        reminder="[Das ist bekannt:|Ein paar Angaben vorweg:|Zur Erinnerung:]",
        dictation="[Bitte merke dir Folgendes.|Ich schreibe dir ein paar Dinge auf.|Notiere bitte:]",
        noted="[Ist notiert.|Danke, das merke ich mir.|Gut, ich habe alles.|In Ordnung. Was möchtest du wissen?]",
        link="[||||Danke. |Und noch etwas: |Gut. |Alles klar. |Noch eine Frage: ]",
        thanks="[Vielen Dank!|Danke, das war alles.|Prima.|Danke schön!]",
        welcome="[Gern geschehen.|Bitte sehr.|Schönen Tag noch!|Gern, bis bald.]",
    )
    return converse(v, turns, others, manners, told=0.55 if many else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that only someone who knows this world can answer, with words that the answer must hold."""
    return probe(Voice(random.Random(f"probes/{world}/{seed}")), World(f"de{world}"), PRIVATE, count)


def _any_fact(v: Voice, w: World) -> str:
    kind = v.number(0, 2)
    if kind == 0:
        return fact_price(v, w, v.pick(ALL_ITEMS), v.pick(w.shops))
    return fact_place(v, w, v.pick(ALL_ITEMS)) if kind == 1 else fact_dinner(v, w, v.pick(DAYS))
