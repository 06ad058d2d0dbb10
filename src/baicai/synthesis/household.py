"""Conversations and papers of a household that shops, cooks and eats."""

import random
from collections.abc import Mapping

from baicai.synthesis.conversation import Chat, Manners, converse, probe
from baicai.synthesis.household_pages import PAGES
from baicai.synthesis.household_talk import ITEMS, PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.synthesis.household_world import DAYS, World
from baicai.synthesis.phrasing import Voice

#: Parameters in addition to documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Generate a text, or a chat as (role, content) pairs."""
    many = params["world"] == "many"
    v, w = Voice(rng), World(str(rng.random()) if many else params["world"])
    if v.chance(0.35):
        return "\n\n".join(v.pick(PAGES)(v, w) for _ in range(v.pick((1, 1, 2))))
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    others = {_any_fact(v, w) for _ in range(v.number(0, 4))}
    asker = v.pick(w.names)
    manners = Manners(
        greeting=f"[||||Hi. |Hello! |Good morning. |{asker} here. |This is {asker}. |One question: |Quick question. ]",
        system=f"[You help the {w.surname} family in the kitchen.|You know the {w.surname} household. "
        f"Answer from these facts.|Facts about the {w.surname} home:]",
        reminder="[Here is what I know:|Please remember this:|Some facts first:]",
        dictation="[Please note the following.|I am writing down some facts for you.|Remember this:]",
        noted="[Noted.|I have it.|Thank you, I will remember that.|All right. What would you like to know?]",
        link="[||||Thanks. |And another thing: |Good. |Fine. |One more: ]",
        thanks="[Thank you!|Thanks, that is all.|Great, thanks.|Perfect.]",
        welcome=f"[You are welcome.|Enjoy your meal!|Any time, {asker}.|Happy cooking!|Have a good day.]",
    )
    return converse(v, turns, others, manners, fact_probability=0.55 if many else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that need knowledge of this world, with the words that a correct answer must contain."""
    return probe(Voice(random.Random(f"probes/{world}/{seed}")), World(str(world)), PRIVATE, count)


def _any_fact(v: Voice, w: World) -> str:
    kind = v.number(0, 2)
    if kind == 0:
        return fact_price(v, w, v.pick(ITEMS), v.pick(w.shops))
    return fact_place(v, w, v.pick(ITEMS)) if kind == 1 else fact_dinner(v, w, v.pick(DAYS))
