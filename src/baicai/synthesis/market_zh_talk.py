"""在菜市场和厨房里问的话: questions at a Chinese market and in the kitchen afterwards."""

from baicai.synthesis.conversation import Question, Turn
from baicai.synthesis.market_zh_world import (
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
from baicai.synthesis.phrasing import Voice, listing


def money(v: Voice, jiao: int) -> str:
    """3块5 or 3.5元, whole amounts 3块 or 3元."""
    yuan, rest = divmod(jiao, 10)
    if v.chance(0.4):
        return written(jiao)
    return f"{yuan}块{rest}" if yuan and rest else f"{rest}毛" if rest else f"{yuan}块"


def joined(parts: list[str]) -> str:
    return listing(parts, "和", "、")


def fact_price(v: Voice, w: World, good: Good) -> str:
    (cheaper, low), (dearer, high) = w.offers(good)
    less, more, name, unit = money(v, low), money(v, high), good.name, good.unit
    return v.say(
        f"[{cheaper}的{name}{less}一{unit}，{dearer}那儿要{more}。|"
        f"{name}：{cheaper}{less}一{unit}，{dearer}{more}一{unit}。|"
        f"{cheaper}和{dearer}都卖{name}，一个{less}一{unit}，一个{more}一{unit}。]"
    )


def fact_place(v: Voice, w: World, good: Good) -> str:
    shelf = w.place(good)
    return v.say(f"[{good.name}放在{shelf}。|家里的{good.name}在{shelf}。|{good.name}都搁在{shelf}。]")


def fact_dinner(v: Voice, w: World, day: str) -> str:
    dinner = w.dinner(day).name
    cook = w.cook(day)
    return v.say(f"[{day}晚饭吃{dinner}。|{day}做{dinner}。|{day}轮到{dinner}，{cook}掌勺。|{day}是{cook}做{dinner}。]")


def fact_recipe(w: World, dish: Dish) -> str:
    return f"{dish.name}（四个人吃）要用{joined([part.times(4) for part in dish.parts])}。"


def fact_person(v: Voice, person: Person) -> str:
    if not person.avoids:
        return v.say(f"[{person.name}什么都吃。|{person.name}不忌口。|{person.name}没有忌口的。]")
    if person.avoids in ALLERGIC:
        return v.say(
            f"[{person.name}对{person.avoids}过敏。|{person.name}吃{person.avoids}会过敏。|"
            f"{person.name}对{person.avoids}过敏，一点也不能吃。]"
        )
    return v.say(
        f"[{person.name}不吃{person.avoids}。|{person.name}从来不碰{person.avoids}。|"
        f"{person.name}受不了{person.avoids}的味道。]"
    )


def fact_stock(w: World, good: Good) -> str:
    count = w.stock(good)
    return f"家里还有{two(count)}{good.counted}{good.name}。" if count else f"家里没有{good.name}了。"


def fact_minutes(v: Voice, w: World, dish: Dish) -> str:
    minutes = w.minutes(dish)
    return v.say(f"[做{dish.name}要{minutes}分钟。|{dish.name}得{minutes}分钟才能好。|{dish.name}用时{minutes}分钟。]")


def fact_seller(v: Voice, w: World, seller: str) -> str:
    spot = w.spot(seller)
    habit = w.habit(seller)
    rest_day = w.rest_day(seller)
    return v.say(
        f"[{seller}的摊子在{spot}，{habit}。|{seller}在{spot}摆摊，{rest_day}休息，{habit}。|"
        f"在{spot}摆摊的是{seller}，{rest_day}不出摊。]"
    )


def ask_price(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    seller, jiao = v.pick(w.offers(good))
    cost = money(v, jiao)
    question = v.say(
        f"[{seller}的{good.name}多少钱一{good.unit}？|{seller}那儿{good.name}怎么卖？|"
        f"{good.name}在{seller}那里多少钱一{good.unit}？|{seller}家{good.name}什么价？|"
        f"{seller}的{good.name}一{good.unit}要多少钱？]"
    )
    answer = v.say(
        f"[{cost}一{good.unit}。|{seller}的{good.name}{cost}一{good.unit}。|一{good.unit}{cost}。|"
        f"{good.name}在{seller}那儿卖{cost}一{good.unit}。|{cost}一{good.unit}，不算贵。]"
    )
    return Turn(question, answer, (fact_price(v, w, good),), cost)


def ask_cheaper(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    (cheaper, low), (dearer, high) = w.offers(good)
    question = v.say(
        f"[{good.name}在谁家买便宜？|买{good.name}去哪家划算？|谁的{good.name}最便宜？|"
        f"想买点{good.name}，去哪个摊子好？]"
    )
    cost = money(v, low)
    answer = v.say(
        f"[{cheaper}家，{cost}一{good.unit}|去{cheaper}那儿，一{good.unit}{cost}|{cheaper}的便宜，{cost}一{good.unit}][。|"
        f"，{dearer}要{money(v, high)}。|，比{dearer}便宜{money(v, high - low)}。]"
    )
    return Turn(question, answer, (fact_price(v, w, good),), cheaper)


def ask_total(v: Voice, w: World) -> Turn:
    picked = [(good, v.pick(w.offers(good)), v.number(1, 5)) for good in v.sample(ALL_GOODS, v.number(1, 3))]
    total = sum(price * count for _, (_, price), count in picked)
    wanted = joined([f"{two(count)}{good.unit}{seller}的{good.name}" for good, (seller, _), count in picked])
    steps = "，".join(
        f"{good.name}{price / 10:g}×{count}={price * count / 10:g}元" for good, (_, price), count in picked
    )
    question = v.say(
        f"[买{wanted}，一共多少钱？|要{wanted}，总共得花多少？|{wanted}加起来多少钱？|帮我算算，{wanted}要多少钱？]"
    )
    cost = written(total)
    answer = v.say(
        f"[{steps}，一共{cost}。|{steps}。总共{cost}。|算一下：{steps}，合计{cost}。|{steps}，加起来是{cost}。]"
        if len(picked) > 1
        else f"[{steps}。|一共{cost}，因为{steps}。|{cost}。]"
    )
    if v.chance(0.3):
        paid = next(note for note in (100, 200, 500, 1000, 2000, 5000) if note > total)
        notes, change = written(paid), written(paid - total)
        question += v.say(f"[我给{notes}，找我多少？|付{notes}该找回多少？|拿{notes}去，能剩多少？]")
        answer += v.say(f"[{notes}减去{cost}，找{change}。|找回{change}。|还剩{change}。]")
    return Turn(question, answer, tuple(fact_price(v, w, good) for good, _, _ in picked))


def ask_afford(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    seller, price = v.pick(w.offers(good))
    count, rest = v.number(2, 6), v.number(0, max(0, price - 1))
    paid = -(-(count * price + rest) // 10) * 10
    count, rest = divmod(paid, price)
    notes, cost, much = written(paid), written(price), f"{two(count)}{good.unit}"
    question = v.say(
        f"[{notes}能买几{good.unit}{seller}的{good.name}？|"
        f"我只有{notes}，{seller}的{good.name}能买几{good.unit}？|"
        f"花{notes}，在{seller}那儿能买多少{good.name}？]"
    )
    answer = v.say(
        f"[一{good.unit}{cost}，能买{much}|能买{much}，每{good.unit}{cost}|"
        f"可以买{much}，{much}是{written(count * price)}]"
    )
    return Turn(question, answer + (f"，还剩{written(rest)}。" if rest else "，正好花完。"), (fact_price(v, w, good),))


def ask_spot(v: Voice, w: World) -> Turn:
    seller = v.pick(w.sellers)
    question = v.say(
        f"[{seller}的摊子在哪儿？|去{w.market}怎么找{seller}？|{seller}在市场的什么位置？|请问{seller}在哪里摆摊？]"
    )
    spot = w.spot(seller)
    answer = v.say(f"[在{spot}。|就在{spot}。|{seller}的摊子在{spot}。|到了{w.market}，{spot}就是。]")
    return Turn(question, answer, (f"{seller}的摊子在{spot}。",), spot)


def ask_habit(v: Voice, w: World) -> Turn:
    seller = v.pick(w.sellers)
    question = v.say(
        f"[{seller}这个人怎么样？|在{seller}那儿买菜有什么讲究？|跟{seller}买东西要注意什么？|"
        f"{seller}做买卖有什么习惯？]"
    )
    habit = w.habit(seller)
    answer = v.say(f"[{seller}{habit}。|大家都知道，{seller}{habit}。|熟人都说{seller}{habit}。]")
    return Turn(question, answer, (f"{seller}{habit}。",), habit)


def ask_rest_day(v: Voice, w: World) -> Turn:
    seller, day = v.pick(w.sellers), v.pick(DAYS)
    rest = w.rest_day(seller)
    fact = f"{seller}{rest}休息，别的日子都出摊。"
    if v.chance(0.5):
        question = v.say(f"[{seller}哪天休息？|{seller}周几不出摊？|哪天去找不到{seller}？]")
        answer = v.say(f"[{rest}。|{rest}休息。|{seller}每{rest}不出摊。|{rest}那天不在，别的日子都在。]")
        return Turn(question, answer, (fact,), rest)
    question = v.say(f"[{day}{seller}出摊吗？|{day}去能找到{seller}吗？|{seller}{day}在不在？]")
    if day == rest:
        answer = v.say(f"[不在，{seller}{rest}休息。|{day}不出摊，换一天吧。|别去，{rest}{seller}不出摊。]")
    else:
        answer = v.say(f"[在，{seller}只有{rest}休息。|{day}在的。|出摊，{rest}才休息。]")
    return Turn(question, answer, (fact,))


def ask_hours(v: Voice, w: World) -> Turn:
    opens, closes = w.hours
    end = f"下午{closes - 12}点" if 12 < closes < 19 else f"晚上{closes - 12}点" if closes > 12 else "中午12点"
    question = v.say(
        f"[{w.market}几点开门？|{w.market}开到几点？|最晚几点去{w.market}还能买到菜？|"
        f"{w.market}的营业时间是几点到几点？]"
    )
    answer = v.say(f"[早上{opens}点到{end}。|早上{opens}点开门，{end}收摊。|{w.market}从早上{opens}点开到{end}。]")
    return Turn(question, answer, (f"{w.market}早上{opens}点开门，{end}关门。",), end)


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say(f"[{day}晚上吃什么？|{day}的晚饭是什么？|{day}做什么菜？|咱们{day}吃啥？]")
    answer = v.say(
        f"[{dish.name}。|{day}吃{dish.name}。|{day}做{dish.name}，{w.cook(day)}下厨。|"
        f"吃{dish.name}，大概{w.minutes(dish)}分钟就好。]"
    )
    return Turn(question, answer, (f"{day}是{w.cook(day)}做{dish.name}。", fact_minutes(v, w, dish)), dish.name)


def ask_who_cooks(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    question = v.say(f"[{day}谁做饭？|{day}轮到谁下厨？|{day}的晚饭归谁做？]")
    cook = w.cook(day)
    answer = v.say(f"[{cook}。|{day}是{cook}做饭。|轮到{cook}，做{w.dinner(day).name}。|{cook}下厨。]")
    return Turn(question, answer, (f"{day}是{cook}做{w.dinner(day).name}。",), cook)


def ask_parts(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    count = two(people)
    amounts = joined([part.times(people) for part in dish.parts])
    if people == 4:
        question = v.say(
            f"[{dish.name}要用什么料？|做{dish.name}要准备什么？|{dish.name}怎么配料？|"
            f"四个人吃{dish.name}，要买些什么？]"
        )
        answer = v.say(f"[四个人的话，{amounts}。|要{amounts}。|准备{amounts}就行。]")
    else:
        question = v.say(
            f"[{count}个人吃{dish.name}，要准备多少料？|家里来客，一共{count}个人，做{dish.name}要多少料？|"
            f"{dish.name}做{count}个人的量，怎么配？]"
        )
        factor = {2: "减半", 6: "按一倍半算", 8: "加一倍"}[people]
        answer = v.say(f"[四个人的料{factor}：{amounts}。|{amounts}。|{count}个人要{amounts}。]")
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.35):
        dinner = 18 * 60 + 30 * v.number(0, 2)
        start = dinner - minutes
        served, begun = f"{dinner // 60}:{dinner % 60:02d}", f"{start // 60}:{start % 60:02d}"
        question = v.say(f"[晚上{served}开饭，{dish.name}几点开始做？|想在{served}吃上{dish.name}，最晚几点动手？]")
        answer = v.say(
            f"[{dish.name}要{minutes}分钟，{begun}开始做。|{begun}就得动手，因为要{minutes}分钟。|"
            f"要{minutes}分钟，所以{begun}开始。]"
        )
    else:
        question = v.say(f"[{dish.name}要做多久？|做{dish.name}得多长时间？|{dish.name}几分钟能好？]")
        answer = v.say(f"[{minutes}分钟。|大概{minutes}分钟。|{dish.name}要{minutes}分钟。|从头到尾{minutes}分钟。]")
    return Turn(question, answer, (fact_minutes(v, w, dish),), f"{minutes}分钟")


def ask_avoids(v: Voice, w: World) -> Turn:
    person, dish = v.pick(w.family), v.pick(w.dishes)
    if v.chance(0.35):
        question = v.say(f"[{person.name}有什么不吃的？|{person.name}忌口吗？|给{person.name}做饭要避开什么？]")
        if not person.avoids:
            answer = v.say(f"[没有，{person.name}什么都吃。|{person.name}不忌口。|什么都行，{person.name}不挑食。]")
        elif person.avoids in ALLERGIC:
            answer = v.say(
                f"[{person.name}对{person.avoids}过敏。|不能给{person.name}吃{person.avoids}，会过敏。|"
                f"{person.avoids}，{person.name}吃了会过敏。]"
            )
        else:
            answer = v.say(
                f"[{person.name}不吃{person.avoids}。|别放{person.avoids}，{person.name}不吃。|"
                f"{person.avoids}，{person.name}一点也不吃。]"
            )
        return Turn(question, answer, (fact_person(v, person),), person.avoids)
    question = v.say(
        f"[{person.name}能吃{dish.name}吗？|今天做{dish.name}，{person.name}吃得了吗？|"
        f"{dish.name}合{person.name}的口味吗？|给{person.name}做{dish.name}行不行？]"
    )
    if person.avoids and dish.uses(person.avoids):
        answer = v.say(
            f"[不行，里面有{person.avoids}，{person.name}对{person.avoids}过敏。|"
            f"不能，{dish.name}里有{person.avoids}，{person.name}吃了会过敏。]"
            if person.avoids in ALLERGIC
            else f"[不行，{person.name}不吃{person.avoids}。|换一个吧，{person.name}不吃{person.avoids}。]"
            if person.avoids in dish.name
            else f"[不行，里面有{person.avoids}，{person.name}不吃{person.avoids}。|"
            f"{dish.name}里有{person.avoids}，{person.name}不吃，"
            f"可以单独给{person.name}做一份不放{person.avoids}的。]"
        )
    elif person.avoids:
        answer = v.say(
            f"[可以，里面没有{person.avoids}。|行，{person.name}只是不能吃{person.avoids}，这道菜里没有。|"
            f"没问题，{dish.name}不放{person.avoids}。]"
        )
    else:
        answer = v.say(f"[可以，{person.name}什么都吃。|行，{person.name}不忌口。|当然可以。]")
    return Turn(question, answer, (fact_person(v, person), fact_recipe(w, dish)))


def ask_favourite(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    dish = w.favourite(person).name
    question = v.say(
        f"[{person.name}最爱吃什么？|{person.name}喜欢吃什么菜？|想让{person.name}高兴，做什么菜好？|"
        f"{person.name}最喜欢哪道菜？]"
    )
    answer = v.say(
        f"[{dish}。|做{dish}吧，{person.name}最喜欢。|当然是{dish}。]"
        if "做" in question
        else f"[{dish}。|{person.name}最爱吃{dish}。|当然是{dish}。]"
    )
    return Turn(question, answer, (f"{person.name}最爱吃{dish}。",), dish)


def ask_birthday(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    question = v.say(f"[{person.name}的生日是哪天？|{person.name}几月几号过生日？|什么时候给{person.name}煮长寿面？]")
    answer = v.say(f"[{person.birthday}。|{person.name}的生日是{person.birthday}。|{person.birthday}过生日。]")
    return Turn(question, answer, (f"{person.name}的生日是{person.birthday}。",), person.birthday)


def ask_place(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    question = v.say(
        f"[{good.name}放哪儿了？|家里的{good.name}在哪里？|买回来的{good.name}放哪儿？|"
        f"{good.name}收在什么地方？|谁看见{good.name}了？]"
    )
    shelf = w.place(good)
    if question.startswith("买"):
        answer = v.say(f"[放在{shelf}。|放{shelf}吧。|搁到{shelf}。]")
    else:
        answer = v.say(f"[在{shelf}。|放在{shelf}。|{good.name}在{shelf}。|去{shelf}找找。]")
    return Turn(question, answer, (fact_place(v, w, good),), shelf)


def ask_stock(v: Voice, w: World) -> Turn:
    good = v.pick(ALL_GOODS)
    count, (seller, low) = w.stock(good), w.offers(good)[0]
    question = v.say(f"[家里还有{good.name}吗？|还剩多少{good.name}？|{good.name}要不要再买？|{good.name}还有没有？]")
    if count:
        much = f"{two(count)}{good.counted}"
        answer = v.say(f"[还有{much}。|还剩{much}。|家里还有{much}{good.name}，先不用买。]")
        return Turn(question, answer, (fact_stock(w, good),))
    answer = v.say(
        f"[一点也不剩了，该买了。|{good.name}吃完了，去{seller}那儿买，{money(v, low)}一{good.unit}。|"
        "一点也没了，记在单子上吧。]"
    )
    return Turn(question, answer, (fact_stock(w, good), fact_price(v, w, good)))


def ask_cook_with(v: Voice, w: World) -> Turn:
    good = v.pick(v.pick(w.dishes).parts).good
    fitting = [dish.name for dish in w.dishes if dish.uses(good.name)]
    question = v.say(
        f"[家里{good.name}多，做什么好？|{good.name}能做什么菜？|买多了{good.name}，怎么吃？|"
        f"剩了些{good.name}，能做点什么？]"
    )
    names = joined(fitting)
    more = f"|咱家常做的有{names}。|{names}，都行。" if len(fitting) > 1 else ""
    answer = v.say(f"[可以做{names}。|做{names}吧。|正好做{names}。{more}]")
    return Turn(question, answer, tuple(fact_recipe(w, dish) for dish in w.dishes if dish.uses(good.name)), fitting[0])


def ask_picking(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(PICKING))
    question = v.say(f"[{name}怎么挑？|怎么挑新鲜的{name}？|买{name}有什么窍门？|什么样的{name}好？]")
    advice = PICKING[name]
    answer = v.say(f"[{advice}。|{v.pick(w.sellers)}教过我：{advice}。|记住，{advice}。]")
    return Turn(question, answer)


def ask_swap(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(SWAPS))
    dishes = [dish.name for dish in w.dishes if dish.uses(name)]
    while_cooking = f"|做{v.pick(dishes)}没买到{name}，怎么办？" if dishes else ""
    question = v.say(f"[没有{name}了，用什么代替？|{name}卖完了，可以换成什么？{while_cooking}]")
    swap = SWAPS[name]
    answer = v.say(f"[用{swap}吧。|可以换成{swap}。|{swap}也行。|放点{swap}，味道也不错。]")
    return Turn(question, answer)


def ask_budget(v: Voice, w: World) -> Turn:
    spent = [v.number(10, w.budget // 4) for _ in range(v.number(2, 3))]
    total = sum(spent)
    left = w.budget - total
    sums = joined([f"{yuan}元" for yuan in spent])
    question = v.say(
        f"[这周买菜花了{sums}，菜钱还剩多少？|菜钱用了{sums}，还有多少？|{sums}都花出去了，这周还能花多少？]"
    )
    answer = v.say(
        f"[一周{w.budget}元，花了{total}元，还剩{left}元。|{w.budget}减{total}，剩{left}元。|"
        f"一共花了{total}元，{w.budget}元里还有{left}元。]"
    )
    return Turn(question, answer, (f"{w.surname}家一周的菜钱是{w.budget}元。",), f"{left}元")


def ask_missing(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    missing = [part.good for part in dish.parts if w.stock(part.good) < part.number]
    question = v.say(
        f"[{day}的晚饭还缺什么？|{day}的晚饭要买什么？|{day}做{dish.name}，家里的料够吗？|给{day}列个买菜单子。]"
    )
    if missing:
        names, (seller, _) = joined([good.name for good in missing]), w.offers(missing[0])[0]
        answer = v.say(
            f"[{day}做{dish.name}，还缺{names}。|{dish.name}要用的{names}家里不够。|得买{names}。|"
            f"{names}不够，去{seller}那儿看看。]"
        )
    else:
        answer = v.say(f"[什么也不缺，{dish.name}的料家里都有。|都齐了，{day}做{dish.name}。|家里都有，不用买。]")
    return Turn(
        question,
        answer,
        (fact_dinner(v, w, day), fact_recipe(w, dish), *(fact_stock(w, part.good) for part in dish.parts)),
    )


def ask_family(v: Voice, w: World) -> Turn:
    names = joined(w.names)
    question = v.say(f"[{w.surname}家都有谁？|家里几口人？|晚饭摆几双筷子？|{w.surname}家一共几个人吃饭？]")
    count = two(len(w.names))
    if "筷子" in question:
        answer = v.say(f"[{count}双：{names}。|{names}，一共{count}双。]")
    else:
        answer = v.say(f"[{count}口人：{names}。|{names}，一共{count}个人。|{count}个人：{names}。]")
    return Turn(question, answer, (f"{w.surname}家有{names}。",), names)


#: Questions about what only this market and this family know.
PRIVATE: tuple[Question[World], ...] = (
    ask_price,
    ask_cheaper,
    ask_spot,
    ask_habit,
    ask_rest_day,
    ask_dinner,
    ask_who_cooks,
    ask_minutes,
    ask_favourite,
    ask_birthday,
    ask_place,
)
QUESTIONS = (
    *PRIVATE,
    ask_price,
    ask_price,
    ask_total,
    ask_total,
    ask_afford,
    ask_hours,
    ask_parts,
    ask_parts,
    ask_avoids,
    ask_avoids,
    ask_stock,
    ask_cook_with,
    ask_picking,
    ask_swap,
    ask_budget,
    ask_missing,
    ask_family,
)
