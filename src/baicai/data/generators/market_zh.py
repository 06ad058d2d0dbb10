"""菜市场和厨房里的话: talk and papers around a Chinese market."""

import random
from collections.abc import Mapping

from baicai.data.generators.market_zh_pages import PAGES
from baicai.data.generators.market_zh_talk import PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.data.generators.market_zh_world import ALL_GOODS, DAYS, World
from baicai.data.generators.phrasing import Turn, Voice

#: Parameters beside documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}
Chat = list[tuple[str, str]]


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Write a text, or a chat as (role, content) pairs."""
    seed = params["world"]
    world, voice = World(f"{rng.random()}" if seed == "many" else f"zh{seed}"), Voice(rng)
    if rng.random() < 0.4:
        page = voice.pick(PAGES)(voice, world)
        return page if rng.random() < 0.7 else page + "\n\n" + voice.pick(PAGES)(voice, world)
    return _chat(voice, world, told=0.55 if seed == "many" else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that only someone who knows this world can answer, with words that the answer must hold."""
    voice, home = Voice(random.Random(f"probes/{world}/{seed}")), World(f"zh{world}")
    found: dict[str, str] = {}
    while len(found) < count:
        turn = PRIVATE[len(found) % len(PRIVATE)](voice, home)
        if turn.expected and turn.expected in turn.answer:
            found.setdefault(turn.question, turn.expected)
    return list(found.items())


def _chat(v: Voice, w: World, told: float) -> Chat:
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    chat: Chat = []
    opening = v.say("[||||你好，|请问，|我想问一下，|打听一下，|早上好！|麻烦问一句，]")
    if v.chance(told):
        facts = _facts(v, w, turns)
        if v.chance(0.5):
            chat.append(("system", v.say("[你是{s}家的买菜帮手。|下面是{m}的情况，请据此回答。|{s}家的小本子上记着：|请记住这些，再回答问题。]", s=w.surname, m=w.market) + facts))
        elif v.chance(0.5):
            opening = v.say("[先告诉你几件事：|我知道的是这些：|记一下：]") + facts + v.pick(("", "\n"))
        else:
            chat += [("user", v.say("[请记住：|我说几件事，你记着。|帮我记一下：]") + facts),
                     ("assistant", v.say("[好的，记住了。|记下了。|好，都记住了，你问吧。|没问题，记好了。]"))]
            opening = ""
    for turn in turns:
        chat += [("user", opening + turn.question), ("assistant", turn.answer)]
        opening = v.say("[||||谢谢。|那，|好的。|再问一句，|对了，]")
    if v.chance(0.15):
        chat += [("user", v.say("[谢谢！|好，就这些。|知道了，多谢。|太好了。]")), ("assistant", v.say("[不客气。|慢走，下回再来。|祝你们吃得香！|不用谢。]"))]
    return chat


def _facts(v: Voice, w: World, turns: list[Turn]) -> str:
    facts = {fact for turn in turns for fact in turn.facts}
    for _ in range(v.number(0, 4)):
        kind = v.number(0, 2)
        facts.add(fact_price(v, w, v.pick(ALL_GOODS)) if kind == 0 else fact_place(v, w, v.pick(ALL_GOODS)) if kind == 1 else fact_dinner(v, w, v.pick(DAYS)))
    ordered = sorted(facts)
    v.rng.shuffle(ordered)
    return "".join(ordered)
