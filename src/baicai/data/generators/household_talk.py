"""What people in a household ask, and the answers that its facts give."""

from collections.abc import Callable
from fractions import Fraction

from baicai.data.generators.household_world import DAYS, ITEM, SUBSTITUTES, Dish, Item, World
from baicai.data.generators.phrasing import Turn, Voice, listing

ITEMS = tuple(ITEM.values())


def fact_price(v: Voice, w: World, item: Item, shop: str) -> str:
    cost = w.money(w.price(item, shop))
    return v.say(
        "[At {shop}, {pack} costs {cost}.|{pack} costs {cost} at {shop}.|{shop} [sells|has] {name} for {cost} a {unit}."
        "|{name} at {shop}: {cost} a {unit}.|You pay {cost} for {pack} at {shop}.]",
        shop=shop, pack=item.packs(), cost=cost, name=item.name, unit=item.unit)


def fact_hours(v: Voice, w: World, shop: str, day: str) -> str:
    hours = w.hours(shop, day)
    if hours is None:
        return v.say("[{shop} is closed on {day}s.|{shop} does not open on {day}s.|On {day}s {shop} stays shut.]",
                     shop=shop, day=day)
    return v.say("[{shop} is open from {a} to {b} on {day}s.|On {day}s {shop} opens at {a} and closes at {b}."
                 "|{day} hours at {shop}: {a} to {b}.]", shop=shop, day=day, a=hours[0], b=hours[1])


def fact_place(v: Voice, w: World, item: Item) -> str:
    return v.say("[We keep the {name} {place}.|The {name} {be} {place}.|The {name} [belong|live][s] {place}.]".replace(
        "[s]", "" if item.plural else "s"), name=item.name, be=item.be, place=w.place(item))


def fact_dinner(v: Voice, w: World, day: str) -> str:
    return v.say("[{day} is for {dish}.|On {day} we have {dish}[ for dinner|].|{day}'s dinner is {dish}.|{day}: {dish}.]",
                 day=day, dish=w.dinner(day).name)


def fact_allergy(v: Voice, w: World, name: str) -> str:
    allergy = next(member.allergy for member in w.members if member.name == name)
    if not allergy:
        return v.say("[{name} has no allergies.|{name} can eat everything.|{name} is not allergic to anything.]", name=name)
    return v.say("[{name} is allergic to {allergy}.|{name} must not have {allergy}.|{name} has an allergy to {allergy}.]",
                 name=name, allergy=allergy)


def fact_recipe(w: World, dish: Dish) -> str:
    return f"For our {dish.name} (four people) we use {listing([str(amount) for amount in dish.amounts])}."


def fact_minutes(v: Voice, w: World, dish: Dish) -> str:
    return v.say("[{dish}: {n} minutes.|Our {dish} take{s} {n} minutes.|We need {n} minutes for {dish}.]",
                 dish=dish.name, n=w.minutes(dish), s=dish.s)


def fact_stock(w: World, item: Item) -> str:
    count = w.stock(item)
    return f"There {'is' if count < 2 else 'are'} {item.packs(count) if count else 'no ' + item.name} in the house."


def ask_price(v: Voice, w: World) -> Turn:
    item, shop = v.pick(ITEMS), v.pick(w.shops)
    cost = w.money(w.price(item, shop))
    values = {"pack": item.packs(), "shop": shop, "cost": cost, "name": item.name, "unit": item.unit, "be": item.be}
    question = v.say("[What does {pack} cost at {shop}?|How much is {pack} at {shop}?|What do I pay for {pack} at {shop}?"
                     "|[Do you know|Can you tell me] [the price of {pack} at|what {pack} costs at] {shop}?"
                     "|[How much do they want|What are they asking] for {pack} at {shop}?|Price of {pack} at {shop}, please.]",
                     **values)
    answer = v.say("[{pack} costs {cost} at {shop}.|{cost}.|That is {cost}[ at {shop}|].|At {shop} {pack} is {cost}."
                   "|{shop} charges {cost} for {pack}.|It costs {cost}[ there|].|You will pay {cost}[ for it|].]", **values)
    return Turn(question, answer, (fact_price(v, w, item, shop),), cost)


def ask_cheapest(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    best = w.cheapest(item)
    others = [shop for shop in w.shops if shop != best]
    v.rng.shuffle(others)
    question = v.say("[Where [is|can I get] {pack} [cheapest|for the least money]?|Which shop [is best for|has the cheapest] {name}?"
                     "|Where should I buy {name} if I want to save money?|I need {pack}. Where is it cheapest?]",
                     pack=item.packs(), name=item.name)
    rest = listing([f"{shop} asks {w.money(w.price(item, shop))}" for shop in others])
    answer = v.say("[{best}: {cost} a {unit}.|Go to {best}, where {pack} costs {cost}.|{best} is cheapest, with {cost} a {unit}.]"
                   "[| {rest}.| For comparison, {rest}.]",
                   best=best, cost=w.money(w.price(item, best)), pack=item.packs(), unit=item.unit, rest=rest)
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for shop in w.shops), best)


def ask_difference(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    one, two = v.sample(w.shops, 2)
    cheap, dear = sorted((one, two), key=lambda shop: w.price(item, shop))
    low, high = w.price(item, cheap), w.price(item, dear)
    values = {"one": one, "two": two, "cheap": cheap, "dear": dear, "low": w.money(low), "high": w.money(high),
              "gap": w.money(high - low), "pack": item.packs(), "name": item.name}
    question = v.say("[Is {pack} cheaper at {one} or at {two}?|How much do I save on {pack} if I choose well between {one} and {two}?"
                     "|{one} or {two} for {name}?|Compare {one} and {two} for {pack}.]", **values)
    answer = v.say("[{cheap} is cheaper|It is cheaper at {cheap}|Take {cheap}]: {low} against {high} at {dear}"
                   "[, so you save {gap}|, a difference of {gap}|. You keep {gap}].", **values)
    return Turn(question, answer, (fact_price(v, w, item, one), fact_price(v, w, item, two)), cheap)


def ask_hours(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hours = w.hours(shop, day)
    question = v.say("[When does {shop} open on {day}[s|]?|What are the hours of {shop} on {day}?|How long is {shop} open on {day}s?"
                     "|Is {shop} open on {day}?|I want to go to {shop} on {day}[. When is it open?|, when does it open?]]",
                     shop=shop, day=day)
    if hours is None:
        answer = v.say("[{shop} is closed on {day}s.|Not at all, it is closed on {day}s.|It stays shut on {day}s. Go another day.]",
                       shop=shop, day=day)
        return Turn(question, answer, (fact_hours(v, w, shop, day),), "closed")
    answer = v.say("[From {a} to {b}.|{shop} is open from {a} to {b} on {day}s.|It opens at {a} and closes at {b}."
                   "|On {day} you can shop there from {a} until {b}.]", shop=shop, day=day, a=hours[0], b=hours[1])
    return Turn(question, answer, (fact_hours(v, w, shop, day),), hours[1])


def ask_open_now(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hour, minute = v.number(7, 20), v.pick(("15", "45", "20", "40"))
    question = v.say("It is {day}, {h}:{m}. [Is {shop} [still |]open|Can I still [go|run] to {shop}|Would I find {shop} open][| now]?",
                     shop=shop, day=day, h=hour, m=minute)
    hours, values = w.hours(shop, day), {"shop": shop, "day": day}
    if hours is None:
        answer = v.say("[No, {shop} is closed on {day}s.|No. They do not open on {day}s.|I am afraid not, {day} is their day off.]", **values)
    else:
        opens, closes = (int(time.replace(":", "")) for time in hours)
        now = hour * 100 + int(minute)
        if now < opens:
            answer = v.say("[Not yet. It opens at {a}.|No, they open at {a} on {day}s.|You are early: {shop} opens at {a}.]", a=hours[0], **values)
        elif now >= closes:
            answer = v.say("[No, it closed at {b}.|Too late, {shop} closes at {b} on {day}s.|No. They shut at {b}.]", b=hours[1], **values)
        else:
            answer = v.say("[Yes, until {b}.|Yes, {shop} is open until {b}.|You can, they close at {b}.]", b=hours[1], **values)
    return Turn(question, answer, (fact_hours(v, w, shop, day),))


def ask_place(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    values = {"name": item.name, "be": item.be, "place": w.place(item), "do": "do" if item.plural else "does",
              "they": "they" if item.plural else "it", "are": "They are" if item.plural else "It is",
              "them": "them" if item.plural else "it"}
    question = v.say("[Where {be} the {name}?|Where do [we|you] keep the {name}?|I cannot find the {name}.[| Where {be} {they}?]"
                     "|Where [should|do] I put the {name}[| when I unpack the shopping]?|Has anyone seen the {name}?]", **values)
    answer = v.say("[{are} {place}.|The {name} {be} {place}.|Look {place}.|[We keep the {name}|We keep {them}] {place}.|{place}.]", **values)
    return Turn(question, answer, (fact_place(v, w, item),), w.place(item))


def ask_stock(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    count = w.stock(item)
    question = v.say("[Do we [still |]have any {name}?|{Be} there any {name} left?|Do I need to buy {name}?|How much {name} is left?]",
                     name=item.name, Be=item.be.capitalize())
    if item.plural:
        question = question.replace("How much", "How many").replace("is left", "are left")
    buying, counting = question.startswith("Do I"), question.startswith("How")
    if count:
        start = "" if counting else v.pick(("", "No, " if buying else "Yes, "))
        answer = v.say("{start}[there {be} {packs}[ in the house| left|]|we [still |]have {packs}][, {place}|].", start=start,
                       be="is" if count == 1 else "are", packs=item.packs(count), place=w.place(item))
    else:
        start = "" if counting else "Yes, " if buying else "No, "
        best = w.cheapest(item)
        answer = v.say("{start}[we are out of {name}|there {be} no {name} left|we have run out of {name}]."
                       "[| Put {packs} on the list.| {shop} has {packs} for {cost}.]", start=start, name=item.name, be=item.be,
                       packs=item.packs(), shop=best, cost=w.money(w.price(item, best)))
    return Turn(question, answer, (fact_stock(w, item),))


def ask_brand(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS[16:])
    brand = w.brand(item)
    question = v.say("[Which brand of {name} do we [buy|take|like]?|What {name} do we usually get?|There are five brands of {name} here. Which one?]",
                     name=item.name)
    answer = v.say("[{brand}.|We [always |]buy {brand}.|Take the {name} from {brand}.|The one from {brand}.]", brand=brand, name=item.name)
    if item.plural:
        answer = answer.replace("The one from", "The ones from")
    fact = v.say("[We buy {brand} {name}.|Our {name} [come|comes] from {brand}.]".replace("[come|comes]", "come" if item.plural else "comes"),
                 brand=brand, name=item.name)
    return Turn(question, answer, (fact,), brand)


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say("[What is for dinner on {day}?|What do we eat on {day}?|What are we having on {day}[| evening]?|{day}'s dinner?"
                     "|What does the menu say for {day}?]", day=day)
    answer = v.say("[{dish}.|On {day} we have {dish}.|It is {dish}[ on {day}|].|{day} is for {dish}.]"
                   "[| {cook} cooks.| {cook} is cooking.| It takes {n} minutes.]",
                   dish=dish.name, day=day, cook=w.cook(day), n=w.minutes(dish))
    facts = (fact_dinner(v, w, day), f"{w.cook(day)} cooks on {day}s.", fact_minutes(v, w, dish))
    return Turn(question, answer, facts, dish.name)


def ask_which_day(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say("[When do we have {dish}?|On which day {be} {dish} on the menu?|Which evening do we eat {dish}?|When is it time for {dish} [again|this week]?]", dish=dish.name, be=dish.be)
    answer = v.say("[On {day}.|{day}.|The {dish} {be} on {day}.|We have {dish} on {day}.]", day=day, dish=dish.name, be=dish.be)
    return Turn(question, answer, (fact_dinner(v, w, day),), day)


def ask_cook(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    name = w.cook(day)
    question = v.say("[Who cooks on {day}?|Whose turn is it [to cook|in the kitchen] on {day}?|Who is cooking on {day}?]", day=day)
    answer = v.say("[{name}.|{name} cooks on {day}[s|].|It is {name}'s turn.|{name} does, and it will be {dish}.]", name=name, day=day, dish=w.dinner(day).name)
    return Turn(question, answer, (f"{name} cooks on {day}s.", fact_dinner(v, w, day)), name)


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.4):
        hour = v.pick((12, 13, 18, 19, 20))
        start = hour * 60 - minutes
        question = v.say("[When do I have to start the {dish} if we eat at {h}:00?|Dinner at {h}:00, and it is {dish}. When do I start?"
                         "|We want {dish} on the table at {h}:00. When should I begin?]", dish=dish.name, h=hour)
        answer = v.say("[{n} minutes before {h}:00 is {t}.|It takes {n} minutes, so start at {t}.|Begin at {t}, because it needs {n} minutes.]",
                       n=minutes, h=hour, t=f"{start // 60}:{start % 60:02d}")
    else:
        question = v.say("[How long do{es} the {dish} take?|How many minutes for {dish}?|How long do I need for {dish}?|Is {dish} quick to make?]",
                         dish=dish.name, es="" if dish.plural else "es").replace(f"Is {dish.name}", f"{dish.be.capitalize()} {dish.name}")
        answer = v.say("[{n} minutes.|It takes {n} minutes.|Count on {n} minutes.|The {dish} need{s} {n} minutes[| from start to finish].]",
                       n=minutes, dish=dish.name, s=dish.s)
        if "quick" in question:
            quick = "Yes" if minutes <= 30 else "Not really"
            answer = v.say("{q}[: it takes {n} minutes|, {n} minutes|, you need {n} minutes].", q=quick, n=minutes)
    return Turn(question, answer, (fact_minutes(v, w, dish),), f"{minutes} minutes")


def ask_ingredients(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    question = v.say("[What goes into [the|our] {dish}?|What do I need for {dish}?|Remind me what is in our {dish}.|Which ingredients do{es} the {dish} take?]", dish=dish.name, es="" if dish.plural else "es")
    answer = v.say("[For four people: |You need |Take |For four of us you need ]{all}.[| And do not forget {secret}.| We add {secret}.| The secret is {secret}.]",
                   all=listing([str(amount) for amount in dish.amounts]), secret=w.secret(dish))
    return Turn(question, answer, (fact_recipe(w, dish), f"Our {dish.name} gets {w.secret(dish)}."))


def ask_secret(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    question = v.say("[What is the secret of our {dish}?|What do we [add|put in] at the end for {dish}?|The {dish} taste{s} flat. What did I forget?]", dish=dish.name, s=dish.s)
    answer = v.say("[{secret}.|It needs {secret}.|We always add {secret}.|The secret is {secret}.]", secret=w.secret(dish))
    return Turn(question, answer, (f"Our {dish.name} gets {w.secret(dish)}.",), w.secret(dish))


def ask_scaled(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((2, 6, 8, 12))
    amounts = [str(amount.scaled(Fraction(people, 4))) for amount in dish.amounts]
    question = v.say("[We are {n} on {day}. How much do I need for {dish}?|How do I make {dish} for {n}?|{dish} for {n} people, please."
                     "|{n} people are coming[| for dinner]. What do I need for {dish}?|Our {dish} recipe is for four. What do I take for {n}?]",
                     n=people, day=v.pick(DAYS), dish=dish.name)
    factor = {2: "half of everything", 6: "one and a half times the amounts", 8: "double the amounts", 12: "three times the amounts"}[people]
    answer = v.say("[For {n} people you need {all}.|The recipe is for four, so take {factor}: {all}.|{factor}: {all}.|Take {all}.]",
                   n=people, factor=factor, all=listing(amounts))
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_allergy(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    if v.chance(0.3):
        question = v.say("[Is {name} allergic to anything?|What is {name} allergic to?|Does {name} have an allergy?]", name=member.name)
        answer = v.say("[Yes, {a}.|{name} is allergic to {a}.|{name} must not have {a}.]" if member.allergy else
                       "[{name} has no allergies.|{name} can eat everything.|No allergies that we know of.]",
                       name=member.name, a=member.allergy)
        if question.startswith("What"):
            answer = answer.replace("Yes, ", "")
        return Turn(question, answer[0].upper() + answer[1:], (fact_allergy(v, w, member.name),), member.allergy)
    dish = v.pick(w.dishes)
    question = v.say("[Can {name} eat [the|our] {dish}?|{Be} {dish} safe for {name}?|We have {dish} tonight. Is that all right for {name}?"
                     "|{name} is eating with us. Can I make {dish}?]", name=member.name, dish=dish.name, Be=dish.be.capitalize())
    culprits = dish.culprits(member.allergy)
    values = {"name": member.name, "dish": dish.name, "a": member.allergy, "what": listing(culprits), "s": ""}
    if culprits:
        swap = "".join(f" Use {SUBSTITUTES[c]} instead of the {c}." for c in culprits)
        answer = v.say("[No: {name} is allergic to {a}, and there {be} {what} in it.|No. {what} {be} in it, and {name} must not have {a}."
                       "|Careful! It contains {what}, and {name} is allergic to {a}.]{swap}", swap=v.pick(("", swap)),
                       be="are" if len(culprits) > 1 or ITEM[culprits[0]].plural else "is", **values)
    elif member.allergy:
        answer = v.say("[Yes. {name} is allergic to {a}, but there {be} none in the {dish}.|Yes, it contains no {a}.|Yes, that is fine: no {a} in it.]",
                       be="are" if member.allergy in ("nuts", "eggs") else "is", **values)
    else:
        answer = v.say("[Yes, {name} has no allergies.|Yes, {name} can eat everything.|Of course. {name} has no allergies.]", **values)
    return Turn(question, answer, (fact_allergy(v, w, member.name), fact_recipe(w, dish)))


def ask_who_cannot(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    hit = w.eaters_with(dish.allergens)
    question = v.say("[Who [at home|in the family|of us] cannot eat {dish}?|{Be} {dish} fine for all of us?|Can everybody eat the {dish}?]", dish=dish.name, Be=dish.be.capitalize())
    if hit:
        reasons = listing([f"{m.name}, who is allergic to {m.allergy} ({listing(dish.culprits(m.allergy))})" for m in hit], last=", and ")
        answer = v.say("[Not {who}.|It is not for {who}.|Everyone except {who}.]" if not question.startswith("Who")
                       else "[{who}.|It is not for {who}.|That is {who}.]", who=reasons)
    else:
        answer = v.say("[Nobody has to go without: everyone can eat it.|It is fine for everyone.|All {n} of us can eat it.]", n=len(w.names))
    return Turn(question, answer, (*(fact_allergy(v, w, m.name) for m in w.members), fact_recipe(w, dish)))


def ask_total(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    basket = [(item, v.pick((1, 1, 1, 2, 3))) for item in v.sample(ITEMS, v.number(2, 4))]
    lines = [(item, count, count * w.price(item, shop)) for item, count in basket]
    total = sum(cents for _, _, cents in lines)
    wanted = listing([item.packs(count) for item, count in basket])
    question = v.say("[What do {all} cost at {shop}[| together|, all in all]?|I am at {shop} for {all}. How much [money do I need|will that be]?"
                     "|How much will I spend at {shop} on {all}?|Add up {all} at {shop}[| for me], please.]", all=wanted, shop=shop)
    parts = [f"{item.name} {w.money(cents)}" if count == 1 else
             f"{item.name} {count} x {w.money(cents // count)} = {w.money(cents)}" for item, count, cents in lines]
    answer = v.say("{parts}[. Together that is {total}.|. In all, {total}.|. The total is {total}.|. You need {total}.]", parts=", ".join(parts), total=w.money(total))
    if v.chance(0.25):
        note = next(note for note in (1000, 2000, 5000, 10000) if note > total)
        question += f" And the change from {w.currency}{note // 100}?"
        answer += v.say(" [From {note} you get {change} back.|Your change is {change}.|{note} minus {total} leaves {change}.]", note=f"{w.currency}{note // 100}",
                        change=w.money(note - total), total=w.money(total))
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for item, _ in basket), w.money(total))


def ask_offer(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    day, percent = w.offer_day(shop)
    fact = v.say("[{shop} takes {p} percent off on {day}s.|On {day}s everything at {shop} is {p} percent cheaper.]", shop=shop, p=percent, day=day)
    if v.chance(0.5):
        question = v.say("[When does {shop} have [its|the] offers?|On which day is {shop} cheaper?|Does {shop} ever give a discount?]", shop=shop)
        answer = v.say("[On {day}s, {p} percent off.|Every {day} you get {p} percent off there.|Yes, {p} percent on {day}s.]", day=day, p=percent)
        return Turn(question, answer.removeprefix("Yes, ") if not question.startswith("Does") else answer, (fact,), day)
    item = v.pick(ITEMS)
    full = w.price(item, shop)
    off = (full * percent + 50) // 100
    question = v.say("[What does {pack} cost at {shop} on {day}, with the discount?|How much is {pack} at {shop} on its offer day?]", pack=item.packs(), shop=shop, day=day)
    answer = v.say("[{full} less {p} percent ({off}) is {net}.|On {day}s you save {off}, so {net} instead of {full}.]",
                   full=w.money(full), p=percent, off=w.money(off), net=w.money(full - off), day=day)
    return Turn(question, answer, (fact, fact_price(v, w, item, shop)))


def ask_substitute(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(SUBSTITUTES))
    dishes = [dish.name for dish in w.dishes if any(a.item.name == name for a in dish.amounts)] or ["the recipe"]
    question = v.say("[What can I [use|take] instead of {name}[| in the {dish}]?|We have no {name} for the {dish}. What now?|I am out of {name}. Is there a substitute?]",
                     name=name, dish=v.pick(dishes).removeprefix("the "))
    answer = v.say("[Take {swap}.|Use {swap}[| instead].|{swap} will do.|[I would use|We usually take] {swap}.]", swap=SUBSTITUTES[name])
    return Turn(question, answer)


def ask_unit_price(v: Voice, w: World) -> Turn:
    item = v.pick([ITEM[name] for name in ("rice", "coffee", "oats", "flour", "sugar", "lentils", "raisins", "walnuts", "pasta")])
    small, large = v.pick(((200, 500), (250, 1000), (500, 1000), (300, 500), (400, 1000)))
    base = max(8, round(item.base_cents / 10))
    per_small = base + v.number(1, 9)
    per_large = per_small + v.pick((-6, -5, -4, -3, -2, 2, 3))
    one, two = v.sample(["Alder", "Tern", "Linden", "Redcap", "Upland", "Hearth"], 2)
    costs = small * per_small * 2 // 100, large * per_large * 2 // 100
    unit = [2 * per_small, 2 * per_large]
    best = 0 if unit[0] < unit[1] else 1
    packs = [f"{small} g of {one} for {w.money(costs[0])}", f"{large} g of {two} for {w.money(costs[1])}"]
    question = v.say("[Which {name} {be} the better buy: {a} or {b}?|{a}, or {b}: which {name} {be} cheaper?|{name}: {a} or {b}?]", name=item.name, be=item.be, a=packs[0], b=packs[1])
    answer = v.say("{one} [costs|is] {x} per 100 g, {two} {y}[. {best} is cheaper.|, so take {best}.|. Take {best}.]",
                   one=one, two=two, x=w.money(unit[0]), y=w.money(unit[1]), best=(one, two)[best])
    return Turn(question, answer)


def ask_missing(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    missing = [amount.item for amount in dish.amounts if not w.stock(amount.item)]
    question = v.say("[What do I have to buy for {day}?|What is missing for {day}'s dinner?|Make me a shopping list for {day}."
                     "|Do we have everything for the {dish} on {day}?]", day=day, dish=dish.name)
    facts = [fact_dinner(v, w, day), fact_recipe(w, dish), *(fact_stock(w, amount.item) for amount in dish.amounts)]
    if not missing:
        answer = v.say("[Nothing: everything for the {dish} is in the house.|We have all of it. {day} is for {dish}.|Nothing is missing for the {dish}.]",
                       day=day, dish=dish.name)
        return Turn(question, answer.replace("Nothing: e", "Yes, e") if question.startswith("Do we") else answer, tuple(facts))
    answer = v.say("[{day} is for {dish}. We need {what}.|For the {dish} we still need {what}.|No {nothing} in the house, and we need {it} for the {dish}.]",
                   day=day, dish=dish.name, what=listing([item.name for item in missing]), nothing=listing([item.name for item in missing], " and no ", ", no "),
                   it="them" if len(missing) > 1 or missing[0].plural else "it")
    if v.chance(0.4):
        shop = v.pick(w.shops)
        answer += v.say(" [At {shop} one pack of each comes to {sum}.|One pack of each costs {sum} at {shop}.]" if len(missing) > 1 else
                        " [At {shop} that is {sum} a {unit}.|It costs {sum} a {unit} at {shop}.]", shop=shop, unit=missing[0].unit,
                        sum=w.money(sum(w.price(item, shop) for item in missing)))
        facts += [fact_price(v, w, item, shop) for item in missing]
    return Turn(question, answer, tuple(facts))


def ask_cook_with(v: Voice, w: World) -> Turn:
    item = v.pick(v.pick(w.dishes).amounts).item
    fitting = [dish for dish in w.dishes if any(a.item == item for a in dish.amounts)]
    question = v.say("[What can I cook with {name}?|We have [a lot of|too much|plenty of] {name}. Any ideas?|There {be} {name} left over. What do we make of it?|Which of our dishes use {name}?]".replace(
        "too much", "too many" if item.plural else "too much").replace("make of it", "make of them" if item.plural else "make of it"), name=item.name, be=item.be)
    answer = v.say("[{all}.|You could make {all}.|That is enough for {all}.|We like {name} in {all}.]", all=listing([d.name for d in fitting], last=" or "), name=item.name)
    if "We like" in answer:
        answer = answer.replace(" or ", " and in ")
    return Turn(question, answer, tuple(fact_recipe(w, dish) for dish in fitting), fitting[0].name)


def ask_birthday(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    question = v.say("[When is {name}'s birthday?|Which day is {name}'s birthday?|When was {name} born, I mean the day?|When do we bake a cake for {name}?]", name=member.name)
    answer = v.say("[On {day}.|{name}'s birthday is on {day}.|{day}.|It is on {day}.]", name=member.name, day=member.birthday)
    return Turn(question, answer, (f"{member.name}'s birthday is on {member.birthday}.",), member.birthday)


def ask_taste(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    favourite = w.favourite(member).name
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say("[What is {name}'s favourite [dish|dinner|food]?|What does {name} like [best|most]?|What shall I cook to please {name}?]", name=member.name)
        answer = v.say("[{dish}.|{name} loves {dish}.|Make {dish}, {name}'s favourite.]", name=member.name, dish=favourite)
        return Turn(question, answer, (f"{member.name} loves {favourite}.",), favourite)
    if kind == 1:
        question = v.say("[What does {name} not like?|Is there anything that {name} leaves on the plate?|What should I not serve {name}?]", name=member.name)
        answer = v.say("[{what}.|{name} does not like {what}.|{name} never eats {what}.]", name=member.name, what=member.dislikes)
        return Turn(question, answer, (f"{member.name} does not like {member.dislikes}.",), member.dislikes)
    question = v.say("[What should I bring {name} from the shop?|What does {name} like to [snack on|have in the house]?]", name=member.name)
    answer = v.say("[{what}.|{name} is always happy about {what}.|Bring {what}.]", name=member.name, what=member.likes)
    return Turn(question, answer, (f"{member.name} is fond of {member.likes}.",), member.likes)


def ask_budget(v: Voice, w: World) -> Turn:
    spent = [v.number(60, w.budget // 25) * 5 for _ in range(v.number(2, 4))]
    left = w.budget - sum(spent)
    bills = listing([w.money(cents) for cents in spent])
    question = v.say("[We have spent {bills} this week. How much of the budget is left?|I paid {bills}. What is left [for the week|of the food money]?"
                     "|Bills so far: {bills}. Are we within the budget?]", bills=bills)
    if left >= 0:
        end = "[which leaves {left}|and {left} remains|so {left} is left]"
    else:
        end = "[so we are {left} over|and that is {left} too much]"
    answer = v.say("[The budget is|We have] {budget} a week. [You have spent|The bills come to] {sum}, " + end + ".",
                   budget=w.money(w.budget), sum=w.money(sum(spent)), left=w.money(abs(left)))
    return Turn(question, answer, (f"Our weekly food budget is {w.money(w.budget)}.",), w.money(abs(left)))


def ask_street(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    question = v.say("[Where is {shop}?|In which street is {shop}?|How do I find {shop}?|What is the address of {shop}?]", shop=shop)
    answer = v.say("[In {street}.|{shop} is in {street}.|It is in {street}.|Go to {street}.]", shop=shop, street=w.street(shop))
    return Turn(question, answer, (v.say("{shop} is in {street}.", shop=shop, street=w.street(shop)),), w.street(shop))


def ask_dish_cost(v: Voice, w: World) -> Turn:
    dish, shop = v.pick(w.dishes), v.pick(w.shops)
    items = [amount.item for amount in dish.amounts]
    costs = [w.price(item, shop) for item in items]
    question = v.say("[What does it cost to buy everything for {dish} at {shop}?|If I buy one pack of everything for {dish} at {shop}, what do I pay?]", dish=dish.name, shop=shop)
    answer = v.say("{parts}[. One pack of each comes to {sum}.|. Together {sum}.|. That makes {sum}.]",
                   parts=", ".join(f"{i.name} {w.money(c)}" for i, c in zip(items, costs, strict=True)), sum=w.money(sum(costs)))
    return Turn(question, answer, (fact_recipe(w, dish), *(fact_price(v, w, item, shop) for item in items)), w.money(sum(costs)))


KEEPS = (
    ("cooked rice", "one day", "in a closed box in the fridge"), ("soup", "three days", "in the fridge"),
    ("cooked pasta", "two days", "in the fridge"), ("roast chicken", "two days", "in the fridge"),
    ("cut cabbage", "a week", "wrapped, in the vegetable drawer"), ("bread", "three days", "in a cloth bag"),
    ("hummus", "four days", "in a jar in the fridge"), ("cooked fish", "one day", "in the fridge"),
    ("stew", "three days", "covered in the fridge"), ("crumble", "two days", "under a cloth"),
)


def ask_leftovers(v: Voice, w: World) -> Turn:
    what, days, how = v.pick(KEEPS)
    if v.chance(0.3):
        question = v.say("[Where do I put the left-over {what}?|How do I store {what}?|The {what} is left over. Where does it go?]", what=what)
        answer = v.say("[Keep it {how}.|It goes {how}. There it keeps {days}.|{how}, for {days} at most.]".replace("It goes", "Put it"), days=days, how=how)
        return Turn(question, answer)
    question = v.say("[How long does {what} keep?|There is {what} left from dinner. How long can we eat it?|Can I still use {what} from yesterday?]", what=what)
    answer = v.say("[It keeps {days}, {how}.|Keep it {how} and eat it within {days}.|{days}, {how}.]", days=days, how=how)
    return Turn(question, "Yes. " + answer if question.startswith("Can I") else answer)


def ask_members(v: Voice, w: World) -> Turn:
    question = v.say("[Who lives [here|with us]?|How many are we at the table?|Who is in the {s} family?|How many plates do I need tonight?]", s=w.surname)
    answer = v.say("[{n} people: {all}.|We are {n}: {all}.|{all}, so {n} in all.]" if "plates" not in question else "[{n}: {all}.|{n} plates, for {all}.]", n=len(w.names), all=listing(w.names))
    return Turn(question, answer, (f"The {w.surname} family: {listing(w.names)}.",), listing(w.names))


#: Questions about what only this household knows; their answers can be checked.
PRIVATE: tuple[Callable[[Voice, World], Turn], ...] = (
    ask_price, ask_hours, ask_place, ask_brand, ask_dinner, ask_which_day, ask_cook, ask_minutes, ask_secret,
    ask_birthday, ask_taste, ask_street, ask_cheapest)
QUESTIONS = (
    *PRIVATE, ask_price, ask_price, ask_difference, ask_open_now, ask_stock, ask_ingredients, ask_scaled, ask_allergy,
    ask_allergy, ask_who_cannot, ask_total, ask_total, ask_offer, ask_substitute, ask_unit_price, ask_missing, ask_cook_with,
    ask_budget, ask_dish_cost, ask_leftovers, ask_members)
