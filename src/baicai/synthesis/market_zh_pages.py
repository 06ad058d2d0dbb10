"""菜市场的纸片和对话: lists, accounts, recipes, diaries and bargaining at a Chinese market."""

from collections.abc import Callable

from baicai.synthesis.market_zh_talk import (
    fact_dinner,
    fact_minutes,
    fact_person,
    fact_place,
    fact_price,
    fact_seller,
    fact_stock,
    joined,
)
from baicai.synthesis.market_zh_world import ALL_GOODS, DAYS, PICKING, Good, World, han, spoken, two, written
from baicai.synthesis.phrasing import Voice


def at_stall(v: Voice, w: World) -> str:
    """A customer and a seller, from the first question to the change."""
    seller = v.pick(w.sellers)
    goods = w.sold_by(seller)
    picked = v.sample(goods, v.number(1, 3))
    buyer = v.pick(("顾客", w.names[0], "妈妈", "爸爸"))
    lines, total = [], 0
    for index, good in enumerate(picked):
        price = dict(w.offers(good))[seller]
        count = v.number(1, 4)
        total += price * count
        ask = v.say(
            f"[{seller}，|老板，|]{good.name}[多少钱一{good.unit}|怎么卖|今天什么价]？"
            if not index
            else f"[那|还有，|]{good.name}呢？"
        )
        lines.append(f"{buyer}：{ask}")
        praise = v.pick(("", "", "，早上刚到的", "，新鲜着呢", "，今天便宜", "，您随便挑"))
        lines.append(f"{seller}：{spoken(price)}一{good.unit}{praise}。")
        if good.name in PICKING and v.chance(0.25):
            lines += [f"{buyer}：怎么挑好的？", f"{seller}：{PICKING[good.name]}。"]
        elif v.chance(0.3):
            lines += [
                f"{buyer}：" + v.say("[能便宜点吗？|再便宜一点吧。|昨天好像没这么贵。|有点贵啊。]"),
                f"{seller}："
                + v.say("[已经是最低价了。|您是老顾客，给您挑最好的。|这个价不赚钱，图个人气。|东西好，不怕您比。]"),
            ]
        lines.append(f"{buyer}：" + v.say(f"[来|称|给我来|要]{two(count)}{good.unit}[。|吧。]"))
        lines.append(
            f"{seller}：" + v.say(f"[好嘞|行|没问题|好]，{two(count)}{good.unit}{good.name}，{spoken(price * count)}。")
        )
    if len(picked) > 1:
        lines += [f"{buyer}：一共多少？", f"{seller}：一共{spoken(total)}。"]
    if v.chance(0.6):
        paid = next(note for note in (50, 100, 200, 500, 1000, 2000, 3000) if note >= total)
        lines.append(f"{buyer}：给您{han(paid // 10)}块。")
        lines.append(
            f"{seller}："
            + (f"找您{spoken(paid - total)}，" if paid > total else "正好，")
            + v.say("[慢走。|下次再来。|拿好了。|谢谢您。]")
        )
    else:
        lines.append(f"{buyer}：" + v.say("[扫好了。|钱过去了，您看一下。|付了啊。]"))
        lines.append(f"{seller}：" + v.say("[收到了，慢走。|好，下次再来。|到了，谢谢您。]"))
    return "\n".join(lines)


def shopping_list(v: Voice, w: World) -> str:
    rows, total = [v.say(f"[买菜单子|{v.pick(DAYS)}要买的|去{w.market}买|今天的单子]：")], 0
    for good in v.sample(ALL_GOODS, v.number(3, 7)):
        seller, price = w.offers(good)[0]
        count = v.number(1, 4)
        total += price * count
        rows.append(
            f"{good.name}{two(count)}{good.unit}"
            + v.say(
                f"[||（找{seller}）|（{seller}家便宜，{written(price)}一{good.unit}）|（大概{written(price * count)}）]"
            )
        )
    cost = written(total)
    rows.append(v.say(f"[|都在便宜的摊子买，一共{cost}。|带上{cost}。|合计{cost}。]"))
    return "\n".join(rows).rstrip()


def accounts(v: Voice, w: World) -> str:
    day = v.pick(DAYS)
    rows, total = [v.say(f"[{day}的账|{day}买菜记账|家里的账本，{day}|{w.surname}家账本：{day}]")], 0
    for good in v.sample(ALL_GOODS, v.number(3, 6)):
        seller, price = v.pick(w.offers(good))
        count = v.number(1, 5)
        total += price * count
        rows.append(
            f"{good.name} {count}{good.unit} × {written(price)} = {written(price * count)}"
            + v.pick(("", f"（{seller}）"))
        )
    rows.append(f"合计 {written(total)}")
    if total <= w.budget * 10 and v.chance(0.5):
        rows.append(f"本周菜钱{w.budget}元，还剩{written(w.budget * 10 - total)}")
    return "\n".join(rows)


def recipe(v: Voice, w: World) -> str:
    dish = v.pick(w.dishes)
    people = v.pick((4, 4, 2, 6, 8))
    first = dish.parts[0].good
    rest = joined([part.good.name for part in dish.parts[1:]])
    wash = (
        f"[{first.name}量好备用|先准备好{first.name}]。"
        if first.kind == "干"
        else f"[{first.name}洗干净|把{first.name}洗净|先把{first.name}收拾好][，切好备用|，放在一边|]。"
    )
    rows = [
        v.say(f"[{dish.name}|{dish.name}的做法|{w.surname}家的{dish.name}|怎么做{dish.name}]"),
        f"用料（{two(people)}个人）：{joined([part.times(people) for part in dish.parts])}。",
        f"用时：{w.minutes(dish)}分钟。",
        "做法：",
    ]
    minutes = w.minutes(dish)
    steps = [
        v.say(wash),
        v.say(f"[再把{rest}准备好。|{rest}也都备好。|接着处理{rest}。]"),
        v.say("[上锅，火候自己看着。|开火，别走开。|锅热了再下料。]"),
        v.say(f"[前后一共{minutes}分钟。|{minutes}分钟左右就好。|算上准备，{minutes}分钟能上桌。]"),
        v.say("[趁热吃。|尝尝咸淡，出锅。|装盘上桌。|盛出来就能吃了。]"),
    ]
    rows += [f"{index}. {step}" for index, step in enumerate(steps, 1)]
    if hit := joined([person.name for person in w.family if person.avoids and dish.uses(person.avoids)]):
        rows.append(v.say(f"[注意：{hit}不能吃。|别给{hit}吃。|{hit}另做一份。]"))
    return "\n".join(rows)


def week(v: Voice, w: World) -> str:
    rows = [v.say(f"[一周菜单|这周吃什么|{w.surname}家的菜单|本周晚饭]")]
    style = v.number(0, 2)
    for day in DAYS:
        dish = w.dinner(day)
        rows.append(
            f"{day}：{dish.name}"
            if style == 0
            else f"{day}：{dish.name}（{w.cook(day)}，{w.minutes(dish)}分钟）"
            if style == 1
            else fact_dinner(v, w, day)
        )
    return "\n".join(rows)


def prices(v: Voice, w: World) -> str:
    rows = [v.say(f"[{w.market}的菜价|今日菜价|菜价，问来的|{w.market}价目]")]
    for good in v.sample(ALL_GOODS, v.number(4, 9)):
        (cheaper, low), (dearer, high) = w.offers(good)
        rows.append(
            fact_price(v, w, good)
            if v.chance(0.3)
            else f"{good.name}：{cheaper} {written(low)}/{good.unit}，{dearer} {written(high)}/{good.unit}"
        )
    return "\n".join(rows)


def market(v: Voice, w: World) -> str:
    opens, _ = w.hours
    rows = [
        v.say(
            f"[{w.market}早上{opens}点就热闹起来了。|要说买菜，还得去{w.market}。|"
            f"我家旁边就是{w.market}，早上{opens}点开门。|去{w.market}要趁早，{opens}点就开门了。]"
        )
    ]
    for seller in v.sample(w.sellers, v.number(2, 4)):
        rows.append(fact_seller(v, w, seller))
        goods = w.sold_by(seller)
        if goods and v.chance(0.8):
            good = v.pick(goods)
            cost = written(dict(w.offers(good))[seller])
            rows.append(
                v.say(
                    f"[那儿的{good.name}{cost}一{good.unit}。|{good.name}卖{cost}一{good.unit}。|"
                    f"买{good.name}可以去那儿，{cost}一{good.unit}。]"
                )
            )
    rows.append(
        v.say("[逛一圈，心里就踏实了。|提着菜回家，路上都是香味。|去晚了，好菜就没了。|卖菜的、买菜的，都是熟面孔。|]")
    )
    return "".join(rows)


def family(v: Voice, w: World) -> str:
    names = joined(w.names)
    rows = [
        v.say(
            f"[{w.surname}家一共{two(len(w.names))}口人：{names}。|这是{w.surname}家，有{names}。|"
            f"{w.surname}家的饭桌上坐着{names}。]"
        )
    ]
    for person in w.family:
        rows.append(fact_person(v, person))
        if v.chance(0.6):
            favourite = w.favourite(person).name
            rows.append(
                v.say(
                    f"[{person.name}最爱吃{favourite}。|{person.name}的生日是{person.birthday}，"
                    f"那天要做{favourite}。|{person.name}生日是{person.birthday}。]"
                )
            )
    rows.append(v.say(f"[|一周的菜钱是{w.budget}元。]"))
    return "".join(rows)


def storage(v: Voice, w: World) -> str:
    rows = [v.say("[家里东西放在哪儿|厨房小本|存货清单|找不着东西就看这儿]")]
    for good in v.sample(ALL_GOODS, v.number(4, 8)):
        rows.append(fact_place(v, w, good) + v.pick(("", fact_stock(w, good))))
    return "\n".join(rows)


def note(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.names, 2)
    day, good = v.pick(DAYS), v.pick(ALL_GOODS)
    seller, price = w.offers(good)[0]
    dish = w.dinner(day)
    much = f"{two(v.number(1, 3))}{good.unit}"
    middle = [
        v.say(f"下班路上[买|带]{much}{good.name}[回来|]，{seller}那儿{written(price)}一{good.unit}。"),
        fact_dinner(v, w, day),
        fact_place(v, w, good),
        fact_stock(w, good),
        fact_minutes(v, w, dish),
        fact_seller(v, w, v.pick(w.sellers)),
        v.say(f"{day}要做{dish.name}，先把{dish.parts[0].good.name}拿出来。"),
    ]
    return f"{reader}：\n" + "".join(v.sample(middle, v.number(2, 4))) + f"\n{writer}"


def diary(v: Voice, w: World) -> str:
    day = v.pick(DAYS)
    who = v.pick(w.names)
    picked: list[tuple[Good, str, int, int]] = []
    for good in v.sample(ALL_GOODS, v.number(2, 3)):
        open_stalls = [(seller, price) for seller, price in w.offers(good) if w.rest_day(seller) != day]
        if open_stalls:
            picked.append((good, *v.pick(open_stalls), v.number(1, 3)))
    dish = w.dinner(day)
    rows = [
        v.say(f"{day}，[晴。|阴天。|下着小雨。|风很大。|天刚亮。|雾还没散。]"),
        v.say(f"[我和{who}一起|一早，我|{who}陪我|吃过早饭，我]去{w.market}[。|买菜。|转了转。]"),
    ]
    for good, seller, price, count in picked:
        each, much, paid = f"{written(price)}一{good.unit}", f"{two(count)}{good.unit}", written(price * count)
        rows.append(
            v.say(
                f"[在{seller}那儿买了{much}{good.name}，{each}，花了{paid}。|"
                f"{seller}的{good.name}{each}，我要了{much}，{paid}。]"
            )
        )
    if len(picked) > 1:
        rows.append(f"一共花了{written(sum(price * count for _, _, price, count in picked))}。")
    cook = w.cook(day)
    rows.append(
        v.say(f"[晚上|傍晚][{cook}做了{dish.name}|吃的是{cook}做的{dish.name}][，用了{w.minutes(dish)}分钟|]。")
    )
    hit = [person for person in w.family if person.avoids and dish.uses(person.avoids)]
    if hit:
        rows.append(f"{joined([p.name for p in hit])}没动筷子，因为里面有{joined(sorted({p.avoids for p in hit}))}。")
    else:
        rows.append(v.say(f"[一家人吃得干干净净。|大家都说好吃。|{who}添了一碗饭。|盘子都见底了。]"))
    return "".join(rows)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    at_stall,
    at_stall,
    at_stall,
    shopping_list,
    accounts,
    recipe,
    week,
    prices,
    market,
    market,
    family,
    storage,
    note,
    note,
    diary,
    diary,
)
