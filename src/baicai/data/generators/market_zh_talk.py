"""在菜市场和厨房里问的话: what people ask at a Chinese market and in the kitchen after it."""

from collections.abc import Callable

from baicai.data.generators.market_zh_world import (
    ALL_GOODS,
    ALLERGIC,
    DAYS,
    PICKING,
    SWAPS,
    Dish,
    Good,
    Person,
    World,
    two,
    written,
)
from baicai.data.generators.phrasing import Turn, Voice, listing


def money(v: Voice, jiao: int) -> str:
    """3块5 or 3.5元, whole amounts 3块 or 3元."""
    yuan, rest = divmod(jiao, 10)
    if v.chance(0.4):
        return written(jiao)
    return f"{yuan}块{rest}" if yuan and rest else f"{rest}毛" if rest else f"{yuan}块"


def joined(parts: list[str]) -> str:
    return listing(parts, "和", "、")


def fact_price(v: Voice, w: World, good: Good) -> str:
    (one, low), (other, high) = w.offers(good)
    return v.say("[{one}的{g}{low}一{u}，{other}那儿要{high}。|{g}：{one}{low}一{u}，{other}{high}一{u}。|{one}和{other}都卖{g}，一个{low}一{u}，一个{high}一{u}。]",
                 one=one, g=good.name, u=good.unit, other=other, low=money(v, low), high=money(v, high))


def fact_place(v: Voice, w: World, good: Good) -> str:
    return v.say("[{g}放在{p}。|家里的{g}在{p}。|{g}都搁在{p}。]", g=good.name, p=w.place(good))


def fact_dinner(v: Voice, w: World, day: str) -> str:
    return v.say("[{d}晚饭吃{x}。|{d}做{x}。|{d}轮到{x}，{c}掌勺。|{d}是{c}做{x}。]", d=day, x=w.dinner(day).name, c=w.cook(day))


def fact_recipe(w: World, dish: Dish) -> str:
    return f"{dish.name}（四个人吃）要用{joined([part.times(4) for part in dish.parts])}。"


def fact_person(v: Voice, person: Person) -> str:
    if not person.avoids:
        return v.say("[{n}什么都吃。|{n}不忌口。|{n}没有忌口的。]", n=person.name)
    if person.avoids in ALLERGIC:
        return v.say("[{n}对{a}过敏。|{n}吃{a}会过敏。|{n}对{a}过敏，一点也不能吃。]", n=person.name, a=person.avoids)
    return v.say("[{n}不吃{a}。|{n}从来不碰{a}。|{n}受不了{a}的味道。]", n=person.name, a=person.avoids)


def fact_stock(w: World, good: Good) -> str:
    count = w.stock(good)
    return f"家里还有{two(count)}{good.counted}{good.name}。" if count else f"家里没有{good.name}了。"


def fact_minutes(v: Voice, w: World, dish: Dish) -> str:
    return v.say("[做{x}要{n}分钟。|{x}得{n}分钟才能好。|{x}用时{n}分钟。]", x=dish.name, n=w.minutes(dish))


def fact_seller(v: Voice, w: World, seller: str) -> str:
    return v.say("[{s}的摊子在{p}，{h}。|{s}在{p}摆摊，{r}休息，{h}。|{p}的摊主是{s}，{r}不出摊。]", s=seller, p=w.spot(seller), h=w.habit(seller), r=w.rest_day(seller))


def ask_price(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    seller, jiao = v.pick(w.offers(good))
    cost = money(v, jiao)
    question = v.say("[{s}的{g}多少钱一{u}？|{s}那儿{g}怎么卖？|{g}在{s}那里多少钱一{u}？|{s}家{g}什么价？|{s}的{g}一{u}要多少钱？]", s=seller, g=good.name, u=good.unit)
    answer = v.say("[{c}一{u}。|{s}的{g}{c}一{u}。|一{u}{c}。|{g}在{s}那儿卖{c}一{u}。|{c}一{u}，不算贵。]", s=seller, g=good.name, u=good.unit, c=cost)
    return Turn(question, answer, (fact_price(v, w, good),), cost)


def ask_cheaper(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    (one, low), (other, high) = w.offers(good)
    question = v.say("[{g}在谁家买便宜？|买{g}去哪家划算？|谁的{g}最便宜？|想买点{g}，去哪个摊子好？]", g=good.name)
    answer = v.say("[{one}家，{low}一{u}|去{one}那儿，一{u}{low}|{one}的便宜，{low}一{u}][。|，{other}要{high}。|，比{other}便宜{gap}。]",
                   one=one, other=other, low=money(v, low), high=money(v, high), u=good.unit, gap=money(v, high - low))
    return Turn(question, answer, (fact_price(v, w, good),), one)


def ask_total(v: Voice, w: World) -> Turn:
    picked = [(good, v.pick(w.offers(good)), v.number(1, 5)) for good in v.sample(ALL_GOODS, v.number(1, 3))]
    total = sum(price * count for _, (_, price), count in picked)
    wanted = joined([f"{two(count)}{good.unit}{seller}的{good.name}" for good, (seller, _), count in picked])
    steps = "，".join(f"{good.name}{price / 10:g}×{count}={price * count / 10:g}元" for good, (_, price), count in picked)
    question = v.say("[买{w}，一共多少钱？|要{w}，总共得花多少？|{w}加起来多少钱？|帮我算算，{w}要多少钱？]", w=wanted)
    answer = v.say("[{s}，一共{t}。|{s}。总共{t}。|算一下：{s}，合计{t}。|{s}，加起来是{t}。]" if len(picked) > 1 else "[{s}。|一共{t}，因为{s}。|{t}。]", s=steps, t=written(total))
    if v.chance(0.3):
        paid = next(note for note in (100, 200, 500, 1000, 2000, 5000) if note > total)
        question += v.say("[我给{p}元，找我多少？|付{p}元该找回多少？|拿{p}元去，能剩多少？]", p=paid // 10)
        answer += v.say("[{p}元减去{t}，找{c}。|找回{c}。|还剩{c}。]", p=paid // 10, t=written(total), c=written(paid - total))
    return Turn(question, answer, tuple(fact_price(v, w, good) for good, _, _ in picked))


def ask_afford(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    seller, price = v.pick(w.offers(good))
    count, rest = v.number(2, 6), v.number(0, max(0, price - 1))
    paid = -(-(count * price + rest) // 10) * 10
    count, rest = divmod(paid, price)
    question = v.say("[{p}元能买几{u}{s}的{g}？|我只有{p}元，{s}的{g}能买几{u}？|花{p}元，在{s}那儿能买多少{g}？]", p=paid // 10, u=good.unit, s=seller, g=good.name)
    answer = v.say("[一{u}{c}，能买{n}{u}|能买{n}{u}，每{u}{c}|可以买{n}{u}，{n}{u}是{x}]", u=good.unit, c=written(price), n=two(count), x=written(count * price))
    return Turn(question, answer + (f"，还剩{written(rest)}。" if rest else "，正好花完。"), (fact_price(v, w, good),))


def ask_spot(v: Voice, w: World) -> Turn:
    seller = v.pick(w.sellers)
    question = v.say("[{s}的摊子在哪儿？|去{m}怎么找{s}？|{s}在市场的什么位置？|请问{s}在哪里摆摊？]", s=seller, m=w.market)
    answer = v.say("[在{p}。|就在{p}。|{s}的摊子在{p}。|到了{m}，{p}就是。]", s=seller, p=w.spot(seller), m=w.market)
    return Turn(question, answer, (f"{seller}的摊子在{w.spot(seller)}。",), w.spot(seller))


def ask_habit(v: Voice, w: World) -> Turn:
    seller = v.pick(w.sellers)
    question = v.say("[{s}这个人怎么样？|在{s}那儿买菜有什么讲究？|跟{s}买东西要注意什么？|{s}做买卖有什么习惯？]", s=seller)
    answer = v.say("[{s}{h}。|大家都知道，{s}{h}。|熟人都说{s}{h}。]", s=seller, h=w.habit(seller))
    return Turn(question, answer, (f"{seller}{w.habit(seller)}。",), w.habit(seller))


def ask_rest_day(v: Voice, w: World) -> Turn:
    seller, day = v.pick(w.sellers), v.pick(DAYS)
    rest = w.rest_day(seller)
    if v.chance(0.5):
        question = v.say("[{s}哪天休息？|{s}周几不出摊？|哪天去找不到{s}？]", s=seller)
        answer = v.say("[{r}。|{r}休息。|{s}每{r}不出摊。|{r}那天不在，别的日子都在。]", s=seller, r=rest)
    else:
        question = v.say("[{d}{s}出摊吗？|{d}去能找到{s}吗？|{s}{d}在不在？]", s=seller, d=day)
        answer = v.say("[不在，{s}{r}休息。|{d}不出摊，换一天吧。|别去，{r}{s}不出摊。]" if day == rest else "[在，{s}只有{r}休息。|{d}在的。|出摊，{r}才休息。]", s=seller, d=day, r=rest)
    return Turn(question, answer, (f"{seller}{rest}休息，别的日子都出摊。",), rest)


def ask_hours(v: Voice, w: World) -> Turn:
    opens, closes = w.hours
    end = f"下午{closes - 12}点" if 12 < closes < 19 else f"晚上{closes - 12}点" if closes > 12 else "中午12点"
    question = v.say("[{m}几点开门？|{m}开到几点？|最晚几点去{m}还能买到菜？|{m}的营业时间是几点到几点？]", m=w.market)
    answer = v.say("[早上{o}点到{c}。|早上{o}点开门，{c}收摊。|{m}从早上{o}点开到{c}。]", o=opens, c=end, m=w.market)
    return Turn(question, answer, (f"{w.market}早上{opens}点开门，{end}关门。",), end)


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say("[{d}晚上吃什么？|{d}的晚饭是什么？|{d}做什么菜？|咱们{d}吃啥？]", d=day)
    answer = v.say("[{x}。|{d}吃{x}。|{d}做{x}，{c}下厨。|吃{x}，大概{n}分钟就好。]", d=day, x=dish.name, c=w.cook(day), n=w.minutes(dish))
    return Turn(question, answer, (f"{day}是{w.cook(day)}做{dish.name}。", fact_minutes(v, w, dish)), dish.name)


def ask_who_cooks(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    question = v.say("[{d}谁做饭？|{d}轮到谁下厨？|{d}的晚饭归谁做？]", d=day)
    answer = v.say("[{c}。|{d}是{c}做饭。|轮到{c}，做{x}。|{c}下厨。]", c=w.cook(day), d=day, x=w.dinner(day).name)
    return Turn(question, answer, (f"{day}是{w.cook(day)}做{w.dinner(day).name}。",), w.cook(day))


def ask_parts(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    amounts = joined([part.times(people) for part in dish.parts])
    if people == 4:
        question = v.say("[{x}要用什么料？|做{x}要准备什么？|{x}怎么配料？|四个人吃{x}，要买些什么？]", x=dish.name)
        answer = v.say("[四个人的话，{a}。|要{a}。|准备{a}就行。]", a=amounts)
    else:
        question = v.say("[{n}个人吃{x}，要准备多少料？|家里来客，一共{n}个人，做{x}要多少料？|{x}做{n}个人的量，怎么配？]", n=two(people), x=dish.name)
        factor = {2: "减半", 6: "按一倍半算", 8: "加一倍"}[people]
        answer = v.say("[四个人的料{f}：{a}。|{a}。|{n}个人要{a}。]", f=factor, a=amounts, n=two(people))
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.35):
        start = 18 * 60 - minutes + 30 * v.number(0, 2)
        dinner = start + minutes
        question = v.say("[晚上{t}开饭，{x}几点开始做？|想在{t}吃上{x}，最晚几点动手？]", t=f"{dinner // 60}:{dinner % 60:02d}", x=dish.name)
        answer = v.say("[{x}要{n}分钟，{s}开始做。|{s}就得动手，因为要{n}分钟。|要{n}分钟，所以{s}开始。]", x=dish.name, n=minutes, s=f"{start // 60}:{start % 60:02d}")
    else:
        question = v.say("[{x}要做多久？|做{x}得多长时间？|{x}几分钟能好？]", x=dish.name)
        answer = v.say("[{n}分钟。|大概{n}分钟。|{x}要{n}分钟。|从头到尾{n}分钟。]", n=minutes, x=dish.name)
    return Turn(question, answer, (fact_minutes(v, w, dish),), f"{minutes}分钟")


def ask_avoids(v: Voice, w: World) -> Turn:
    person, dish = v.pick(w.family), v.pick(w.dishes)
    values = {"n": person.name, "x": dish.name, "a": person.avoids}
    if v.chance(0.35):
        question = v.say("[{n}有什么不吃的？|{n}忌口吗？|给{n}做饭要避开什么？]", **values)
        if not person.avoids:
            answer = v.say("[没有，{n}什么都吃。|{n}不忌口。|什么都行，{n}不挑食。]", **values)
        elif person.avoids in ALLERGIC:
            answer = v.say("[{n}对{a}过敏。|不能给{n}吃{a}，会过敏。|{a}，{n}吃了会过敏。]", **values)
        else:
            answer = v.say("[{n}不吃{a}。|别放{a}，{n}不吃。|{a}，{n}一点也不吃。]", **values)
        return Turn(question, answer, (fact_person(v, person),), person.avoids)
    question = v.say("[{n}能吃{x}吗？|今天做{x}，{n}吃得了吗？|{x}合{n}的口味吗？|给{n}做{x}行不行？]", **values)
    if person.avoids and dish.uses(person.avoids):
        answer = v.say("[不行，里面有{a}，{n}对{a}过敏。|不能，{x}里有{a}，{n}吃了会过敏。]" if person.avoids in ALLERGIC else
                       "[不行，{n}不吃{a}。|换一个吧，{n}不吃{a}。]" if person.avoids in dish.name else
                       "[不行，里面有{a}，{n}不吃{a}。|{x}里有{a}，{n}不吃，可以单独给{n}做一份不放{a}的。]", **values)
    elif person.avoids:
        answer = v.say("[可以，里面没有{a}。|行，{n}只是不能吃{a}，这道菜里没有。|没问题，{x}不放{a}。]", **values)
    else:
        answer = v.say("[可以，{n}什么都吃。|行，{n}不忌口。|当然可以。]", **values)
    return Turn(question, answer, (fact_person(v, person), fact_recipe(w, dish)))


def ask_favourite(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    dish = w.favourite(person).name
    question = v.say("[{n}最爱吃什么？|{n}喜欢吃什么菜？|想让{n}高兴，做什么菜好？|{n}最喜欢哪道菜？]", n=person.name)
    answer = v.say("[{x}。|做{x}吧，{n}最喜欢。|当然是{x}。]" if "做" in question else "[{x}。|{n}最爱吃{x}。|当然是{x}。]", n=person.name, x=dish)
    return Turn(question, answer, (f"{person.name}最爱吃{dish}。",), dish)


def ask_birthday(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    question = v.say("[{n}的生日是哪天？|{n}几月几号过生日？|什么时候给{n}煮长寿面？]", n=person.name)
    answer = v.say("[{b}。|{n}的生日是{b}。|{b}过生日。]", n=person.name, b=person.birthday)
    return Turn(question, answer, (f"{person.name}的生日是{person.birthday}。",), person.birthday)


def ask_place(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    question = v.say("[{g}放哪儿了？|家里的{g}在哪里？|买回来的{g}放哪儿？|{g}收在什么地方？|谁看见{g}了？]", g=good.name)
    answer = v.say("[在{p}。|放在{p}。|{g}在{p}。|去{p}找找。]" if not question.startswith("买") else "[放在{p}。|放{p}吧。|搁到{p}。]", g=good.name, p=w.place(good))
    return Turn(question, answer, (fact_place(v, w, good),), w.place(good))


def ask_stock(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    count, (seller, low) = w.stock(good), w.offers(good)[0]
    question = v.say("[家里还有{g}吗？|还剩多少{g}？|{g}要不要再买？|{g}还有没有？]", g=good.name)
    values = {"g": good.name, "n": two(count) if count else "", "c": good.counted, "u": good.unit, "s": seller, "p": money(v, low)}
    answer = v.say("[还有{n}{c}。|有，还剩{n}{c}。|家里还有{n}{c}{g}，先不用买。]" if count else "[没有了，该买了。|{g}吃完了，去{s}那儿买，{p}一{u}。|一点也没了，记在单子上吧。]", **values)
    if question.startswith("还剩"):
        answer = answer.replace("有，还剩", "还剩").replace("没有了，", "一点也没剩，")
    return Turn(question, answer, (fact_stock(w, good), *(() if count else (fact_price(v, w, good),))))


def ask_cook_with(v: Voice, w: World) -> Turn:
    good = v.pick(v.pick(w.dishes).parts).good
    fitting = [dish.name for dish in w.dishes if dish.uses(good.name)]
    question = v.say("[家里{g}多，做什么好？|{g}能做什么菜？|买多了{g}，怎么吃？|剩了些{g}，能做点什么？]", g=good.name)
    answer = v.say("[可以做{a}。|做{a}吧。|咱家常做的有{a}。|{a}，都行。]" if len(fitting) > 1 else "[可以做{a}。|做{a}吧。|正好做{a}。]", a=joined(fitting))
    return Turn(question, answer, tuple(fact_recipe(w, dish) for dish in w.dishes if dish.uses(good.name)), fitting[0])


def ask_picking(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(PICKING))
    question = v.say("[{g}怎么挑？|怎么挑新鲜的{g}？|买{g}有什么窍门？|什么样的{g}好？]", g=name)
    answer = v.say("[{h}。|{s}教过我：{h}。|记住，{h}。]", h=PICKING[name], s=v.pick(w.sellers))
    return Turn(question, answer)


def ask_swap(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(SWAPS))
    dishes = [dish.name for dish in w.dishes if dish.uses(name)]
    question = v.say("[没有{g}了，用什么代替？|{g}卖完了，可以换成什么？|做{x}没买到{g}，怎么办？]" if dishes else "[没有{g}了，用什么代替？|{g}卖完了，可以换成什么？]", g=name, x=v.pick(dishes) if dishes else "")
    answer = v.say("[用{o}吧。|可以换成{o}。|{o}也行。|放点{o}，味道也不错。]", o=SWAPS[name])
    return Turn(question, answer)


def ask_budget(v: Voice, w: World) -> Turn:
    spent = [v.number(10, w.budget // 4) for _ in range(v.number(2, 3))]
    left = w.budget - sum(spent)
    question = v.say("[这周买菜花了{s}，菜钱还剩多少？|菜钱用了{s}，还有多少？|{s}都花出去了，这周还能花多少？]", s=joined([f"{yuan}元" for yuan in spent]))
    answer = v.say("[一周{b}元，花了{t}元，还剩{l}元。|{b}减{t}，剩{l}元。|一共花了{t}元，{b}元里还有{l}元。]", b=w.budget, t=sum(spent), l=left)
    return Turn(question, answer, (f"{w.surname}家一周的菜钱是{w.budget}元。",), f"{left}元")


def ask_missing(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    missing = [part.good for part in dish.parts if w.stock(part.good) < part.number]
    question = v.say("[{d}的晚饭还缺什么？|{d}的晚饭要买什么？|{d}做{x}，家里的料够吗？|给{d}列个买菜单子。]", d=day, x=dish.name)
    if missing:
        answer = v.say("[{d}做{x}，还缺{m}。|{x}要用的{m}家里不够。|得买{m}。|{m}不够，去{s}那儿看看。]", d=day, x=dish.name, m=joined([g.name for g in missing]), s=w.offers(missing[0])[0][0])
    else:
        answer = v.say("[什么也不缺，{x}的料家里都有。|都齐了，{d}做{x}。|家里都有，不用买。]", d=day, x=dish.name)
    return Turn(question, answer, (fact_dinner(v, w, day), fact_recipe(w, dish), *(fact_stock(w, part.good) for part in dish.parts)))


def ask_family(v: Voice, w: World) -> Turn:
    names = joined(w.names)
    question = v.say("[{s}家都有谁？|家里几口人？|晚饭摆几双筷子？|{s}家一共几个人吃饭？]", s=w.surname)
    answer = v.say("[{n}口人：{a}。|{a}，一共{n}个人。|{n}个：{a}。]" if "筷子" not in question else "[{n}双：{a}。|{a}，一共{n}双。]", n=two(len(w.names)) if "筷子" in question else len(w.names), a=names)
    return Turn(question, answer, (f"{w.surname}家有{names}。",), names)


#: Questions about what only this market and this family know.
PRIVATE: tuple[Callable[[Voice, World], Turn], ...] = (
    ask_price, ask_cheaper, ask_spot, ask_habit, ask_rest_day, ask_dinner, ask_who_cooks, ask_minutes, ask_favourite, ask_birthday, ask_place)
QUESTIONS = (
    *PRIVATE, ask_price, ask_price, ask_total, ask_total, ask_afford, ask_hours, ask_parts, ask_parts, ask_avoids, ask_avoids, ask_stock,
    ask_cook_with, ask_picking, ask_swap, ask_budget, ask_missing, ask_family)
