"""菜市场和厨房里的话: conversations and papers around a Chinese market."""

import random
from collections.abc import Mapping

from baicai.synthesis.conversation import Chat, Manners, converse, probe
from baicai.synthesis.market_zh_pages import PAGES
from baicai.synthesis.market_zh_talk import PRIVATE, QUESTIONS, fact_dinner, fact_place, fact_price
from baicai.synthesis.market_zh_world import ALL_GOODS, DAYS, World
from baicai.synthesis.phrasing import Voice

#: Parameters in addition to documents, seed and split, with their defaults.
PARAMETERS = {"world": "many"}


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Generate a text, or a chat as (role, content) pairs."""
    many = params["world"] == "many"
    v, w = Voice(rng), World(str(rng.random()) if many else f"zh{params['world']}")
    if v.chance(0.4):
        return "\n\n".join(v.pick(PAGES)(v, w) for _ in range(v.pick((1, 1, 2))))
    turns = [v.pick(QUESTIONS)(v, w) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    others = {_any_fact(v, w) for _ in range(v.number(0, 4))}
    manners = Manners(
        greeting="[||||你好，|请问，|我想问一下，|打听一下，|早上好！|麻烦问一句，]",
        system=f"[你是{w.surname}家的买菜帮手。|下面是{w.market}的情况，请据此回答。"
        f"|{w.surname}家的小本子上记着：|请记住这些，再回答问题。]",
        reminder="[先告诉你几件事：|我知道的是这些：|记一下：]",
        dictation="[请记住：|我说几件事，你记着。|帮我记一下：]",
        noted="[好的，记住了。|记下了。|好，都记住了，你问吧。|没问题，记好了。]",
        link="[||||谢谢。|那，|好的。|再问一句，|对了，]",
        thanks="[谢谢！|好，就这些。|知道了，多谢。|太好了。]",
        welcome="[不客气。|慢走，下回再来。|祝你们吃得香！|不用谢。]",
        space="",
    )
    return converse(v, turns, others, manners, fact_probability=0.55 if many else 0.1)


def probes(world: int, count: int, seed: int | str = 0) -> list[tuple[str, str]]:
    """Return questions that need knowledge of this world, with the words that a correct answer must contain."""
    return probe(Voice(random.Random(f"probes/{world}/{seed}")), World(f"zh{world}"), PRIVATE, count)


def _any_fact(v: Voice, w: World) -> str:
    kind = v.number(0, 2)
    if kind == 0:
        return fact_price(v, w, v.pick(ALL_GOODS))
    return fact_place(v, w, v.pick(ALL_GOODS)) if kind == 1 else fact_dinner(v, w, v.pick(DAYS))
