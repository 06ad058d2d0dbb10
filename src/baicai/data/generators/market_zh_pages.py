"""菜市场的纸片和对话: lists, accounts, recipes, diaries and bargaining at a Chinese market."""

from collections.abc import Callable

from baicai.data.generators.market_zh_talk import (
    fact_dinner,
    fact_minutes,
    fact_person,
    fact_place,
    fact_price,
    fact_seller,
    fact_stock,
    joined,
)
from baicai.data.generators.market_zh_world import ALL_GOODS, DAYS, PICKING, Good, World, han, spoken, two, written
from baicai.data.generators.phrasing import Voice


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
        ask = v.say("[{s}，|老板，|]{g}[多少钱一{u}|怎么卖|今天什么价]？" if not index else "[那|还有，|]{g}呢？", s=seller, g=good.name, u=good.unit)
        lines.append(f"{buyer}：{ask}")
        praise = v.pick(("", "", "，早上刚到的", "，新鲜着呢", "，今天便宜", "，您随便挑"))
        lines.append(f"{seller}：{spoken(price)}一{good.unit}{praise}。")
        if good.name in PICKING and v.chance(0.25):
            lines += [f"{buyer}：怎么挑好的？", f"{seller}：{PICKING[good.name]}。"]
        elif v.chance(0.3):
            lines += [f"{buyer}：" + v.say("[能便宜点吗？|再便宜一点吧。|昨天好像没这么贵。|有点贵啊。]"),
                      f"{seller}：" + v.say("[已经是最低价了。|您是老顾客，给您挑最好的。|这个价不赚钱，图个人气。|东西好，不怕您比。]")]
        lines.append(f"{buyer}：" + v.say("[来|称|给我来|要]{n}{u}[。|吧。]", n=two(count), u=good.unit))
        lines.append(f"{seller}：" + v.say("[好嘞|行|没问题|好]，{n}{u}{g}，{t}。", n=two(count), u=good.unit, g=good.name, t=spoken(price * count)))
    if len(picked) > 1:
        lines += [f"{buyer}：一共多少？", f"{seller}：一共{spoken(total)}。"]
    if v.chance(0.6):
        paid = next(note for note in (50, 100, 200, 500, 1000, 2000, 3000) if note >= total)
        lines.append(f"{buyer}：给您{han(paid // 10)}块。")
        lines.append(f"{seller}：" + (f"找您{spoken(paid - total)}，" if paid > total else "正好，") + v.say("[慢走。|下次再来。|拿好了。|谢谢您。]"))
    else:
        lines.append(f"{buyer}：" + v.say("[扫好了。|钱过去了，您看一下。|付了啊。]"))
        lines.append(f"{seller}：" + v.say("[收到了，慢走。|好，下次再来。|到了，谢谢您。]"))
    return "\n".join(lines)


def shopping_list(v: Voice, w: World) -> str:
    rows, total = [v.say("[买菜单子|{d}要买的|去{m}买|今天的单子]：", d=v.pick(DAYS), m=w.market)], 0
    for good in v.sample(ALL_GOODS, v.number(3, 7)):
        seller, price = w.offers(good)[0]
        count = v.number(1, 4)
        total += price * count
        rows.append(f"{good.name}{two(count)}{good.unit}" + v.say("[||（找{s}）|（{s}家便宜，{p}一{u}）|（大概{t}）]", s=seller, p=written(price), u=good.unit, t=written(price * count)))
    rows.append(v.say("[|都在便宜的摊子买，一共{t}。|带上{t}。|合计{t}。]", t=written(total)))
    return "\n".join(rows).rstrip()


def accounts(v: Voice, w: World) -> str:
    rows, total = [v.say("[{d}的账|{d}买菜记账|家里的账本，{d}|{s}家账本：{d}]", d=v.pick(DAYS), s=w.surname)], 0
    for good in v.sample(ALL_GOODS, v.number(3, 6)):
        seller, price = v.pick(w.offers(good))
        count = v.number(1, 5)
        total += price * count
        rows.append(f"{good.name} {count}{good.unit} × {written(price)} = {written(price * count)}" + v.pick(("", f"（{seller}）")))
    rows.append(f"合计 {written(total)}")
    if total <= w.budget * 10 and v.chance(0.5):
        rows.append(f"本周菜钱{w.budget}元，还剩{written(w.budget * 10 - total)}")
    return "\n".join(rows)


def recipe(v: Voice, w: World) -> str:
    dish = v.pick(w.dishes)
    people = v.pick((4, 4, 2, 6, 8))
    first = dish.parts[0].good
    rest = [part.good.name for part in dish.parts[1:]]
    rows = [v.say("[{x}|{x}的做法|{s}家的{x}|怎么做{x}]", x=dish.name, s=w.surname), f"用料（{two(people)}个人）：{joined([part.times(people) for part in dish.parts])}。",
            f"用时：{w.minutes(dish)}分钟。", "做法："]
    steps = [v.say("[{g}洗干净|把{g}洗净|先把{g}收拾好][，切好备用|，放在一边|]。", g=first.name) if first.kind != "干" else v.say("[{g}量好备用|先准备好{g}]。", g=first.name),
             v.say("[再把{r}准备好。|{r}也都备好。|接着处理{r}。]", r=joined(rest)),
             v.say("[上锅，火候自己看着。|开火，别走开。|锅热了再下料。]"),
             v.say("[前后一共{n}分钟。|{n}分钟左右就好。|算上准备，{n}分钟能上桌。]", n=w.minutes(dish)),
             v.say("[趁热吃。|尝尝咸淡，出锅。|装盘上桌。|盛出来就能吃了。]")]
    rows += [f"{index}. {step}" for index, step in enumerate(steps, 1)]
    hit = [person.name for person in w.family if person.avoids and dish.uses(person.avoids)]
    if hit:
        rows.append(v.say("[注意：{p}不能吃。|别给{p}吃。|{p}另做一份。]", p=joined(hit)))
    return "\n".join(rows)


def week(v: Voice, w: World) -> str:
    rows = [v.say("[一周菜单|这周吃什么|{s}家的菜单|本周晚饭]", s=w.surname)]
    style = v.number(0, 2)
    for day in DAYS:
        dish = w.dinner(day)
        rows.append(f"{day}：{dish.name}" if style == 0 else f"{day}：{dish.name}（{w.cook(day)}，{w.minutes(dish)}分钟）" if style == 1 else fact_dinner(v, w, day))
    return "\n".join(rows)


def prices(v: Voice, w: World) -> str:
    rows = [v.say("[{m}的菜价|今日菜价|菜价，问来的|{m}价目]", m=w.market)]
    for good in v.sample(ALL_GOODS, v.number(4, 9)):
        (one, low), (other, high) = w.offers(good)
        rows.append(fact_price(v, w, good) if v.chance(0.3) else f"{good.name}：{one} {written(low)}/{good.unit}，{other} {written(high)}/{good.unit}")
    return "\n".join(rows)


def market(v: Voice, w: World) -> str:
    opens, _ = w.hours
    rows = [v.say("[{m}早上{o}点就热闹起来了。|要说买菜，还得去{m}。|我家旁边就是{m}，早上{o}点开门。|去{m}要趁早，{o}点就开门了。]", m=w.market, o=opens)]
    for seller in v.sample(w.sellers, v.number(2, 4)):
        rows.append(fact_seller(v, w, seller))
        goods = w.sold_by(seller)
        if goods and v.chance(0.8):
            good = v.pick(goods)
            rows.append(v.say("[那儿的{g}{p}一{u}。|{g}卖{p}一{u}。|买{g}可以去那儿，{p}一{u}。]", g=good.name, p=written(dict(w.offers(good))[seller]), u=good.unit))
    rows.append(v.say("[逛一圈，心里就踏实了。|提着菜回家，路上都是香味。|去晚了，好菜就没了。|卖菜的、买菜的，都是熟面孔。|]"))
    return "".join(rows)


def family(v: Voice, w: World) -> str:
    rows = [v.say("[{s}家一共{n}口人：{a}。|这是{s}家，有{a}。|{s}家的饭桌上坐着{a}。]", s=w.surname, n=two(len(w.names)), a=joined(w.names))]
    for person in w.family:
        rows.append(fact_person(v, person))
        if v.chance(0.6):
            rows.append(v.say("[{n}最爱吃{x}。|{n}的生日是{b}，那天要做{x}。|{n}生日是{b}。]", n=person.name, x=w.favourite(person).name, b=person.birthday))
    rows.append(v.say("[|一周的菜钱是{b}元。]", b=w.budget))
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
    middle = [
        v.say("下班路上[买|带]{n}{u}{g}[回来|]，{s}那儿{p}一{u}。", n=two(v.number(1, 3)), u=good.unit, g=good.name, s=seller, p=written(price)),
        fact_dinner(v, w, day), fact_place(v, w, good), fact_stock(w, good), fact_minutes(v, w, dish), fact_seller(v, w, v.pick(w.sellers)),
        v.say("{d}要做{x}，先把{g}拿出来。", d=day, x=dish.name, g=dish.parts[0].good.name),
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
    rows = [v.say("{d}，[晴。|阴天。|下着小雨。|风很大。|天刚亮。|雾还没散。]", d=day), v.say("[我和{w}一起|一早，我|{w}陪我|吃过早饭，我]去{m}[。|买菜。|转了转。]", w=who, m=w.market)]
    for good, seller, price, count in picked:
        rows.append(v.say("[在{s}那儿买了{n}{u}{g}，{p}一{u}，花了{t}。|{s}的{g}{p}一{u}，我要了{n}{u}，{t}。]", s=seller, n=two(count), u=good.unit, g=good.name, p=written(price), t=written(price * count)))
    if len(picked) > 1:
        rows.append(f"一共花了{written(sum(price * count for _, _, price, count in picked))}。")
    rows.append(v.say("[晚上|傍晚][{c}做了{x}|吃的是{c}做的{x}][，用了{n}分钟|]。", c=w.cook(day), x=dish.name, n=w.minutes(dish)))
    hit = [person for person in w.family if person.avoids and dish.uses(person.avoids)]
    if hit:
        rows.append(f"{joined([p.name for p in hit])}没动筷子，因为里面有{joined(sorted({p.avoids for p in hit}))}。")
    else:
        rows.append(v.say("[一家人吃得干干净净。|大家都说好吃。|{w}添了一碗饭。|盘子都见底了。]", w=who))
    return "".join(rows)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    at_stall, at_stall, at_stall, shopping_list, accounts, recipe, week, prices, market, market, family, storage, note, note, diary, diary)
