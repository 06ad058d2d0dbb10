"""Questions that people in a household ask, and answers from the facts of the world."""

from fractions import Fraction

from baicai.synthesis.conversation import Question, Turn
from baicai.synthesis.household_world import DAYS, ITEM, SUBSTITUTES, Dish, Item, World
from baicai.synthesis.phrasing import Voice, listing

ITEMS = tuple(ITEM.values())


def fact_price(v: Voice, w: World, item: Item, shop: str) -> str:
    cost = w.money(w.price(item, shop))
    pack = item.packs()
    return v.say(
        f"[At {shop}, {pack} costs {cost}.|{pack} costs {cost} at {shop}.|{shop} [sells|has]"
        f" {item.name} for {cost} a {item.unit}."
        f"|{item.name} at {shop}: {cost} a {item.unit}.|You pay {cost} for {pack} at {shop}.]"
    )


def fact_hours(v: Voice, w: World, shop: str, day: str) -> str:
    hours = w.hours(shop, day)
    if hours is None:
        return v.say(f"[{shop} is closed on {day}s.|{shop} does not open on {day}s.|On {day}s {shop} stays shut.]")
    return v.say(
        f"[{shop} is open from {hours[0]} to {hours[1]} on {day}s.|"
        f"On {day}s {shop} opens at {hours[0]} and closes at {hours[1]}."
        f"|{day} hours at {shop}: {hours[0]} to {hours[1]}.]"
    )


def fact_place(v: Voice, w: World, item: Item) -> str:
    shelf, s = w.place(item), "" if item.plural else "s"
    return v.say(
        f"[We keep the {item.name} {shelf}.|The {item.name} {item.be} {shelf}.|The {item.name} [belong|live]"
        f"{s} {shelf}.]"
    )


def fact_dinner(v: Voice, w: World, day: str) -> str:
    dish = w.dinner(day).name
    return v.say(
        f"[{day} is for {dish}.|On {day} we have {dish}[ for dinner|].|{day}'s dinner is {dish}.|{day}: {dish}.]"
    )


def fact_allergy(v: Voice, w: World, name: str) -> str:
    allergy = next(member.allergy for member in w.members if member.name == name)
    if not allergy:
        return v.say(f"[{name} has no allergies.|{name} can eat everything.|{name} is not allergic to anything.]")
    return v.say(
        f"[{name} is allergic to {allergy}.|{name} must not have {allergy}.|{name} has an allergy to {allergy}.]"
    )


def fact_recipe(w: World, dish: Dish) -> str:
    return f"For our {dish.name} (four people) we use {listing([str(amount) for amount in dish.amounts])}."


def fact_minutes(v: Voice, w: World, dish: Dish) -> str:
    minutes = w.minutes(dish)
    return v.say(
        f"[{dish.name}: {minutes} minutes.|Our {dish.name} take{dish.s} {minutes} minutes.|"
        f"We need {minutes} minutes for {dish.name}.]"
    )


def fact_stock(w: World, item: Item) -> str:
    count = w.stock(item)
    if not count:
        return f"There {item.be} no {item.name} in the house."
    return f"There {'is' if count == 1 else 'are'} {item.packs(count)} in the house."


def ask_price(v: Voice, w: World) -> Turn:
    item, shop = v.pick(ITEMS), v.pick(w.shops)
    cost = w.money(w.price(item, shop))
    pack = item.packs()
    question = v.say(
        f"[What does {pack} cost at {shop}?|How much is {pack} at {shop}?|What do I pay for {pack} at {shop}?"
        f"|[Do you know|Can you tell me] [the price of {pack} at|what {pack} costs at] {shop}?"
        f"|[How much do they want|What are they asking] for {pack} at {shop}?|Price of {pack} at {shop}, please.]"
    )
    answer = v.say(
        f"[{pack} costs {cost} at {shop}.|{cost}.|That is {cost}[ at {shop}|].|At {shop} {pack} is {cost}."
        f"|{shop} charges {cost} for {pack}.|It costs {cost}[ there|].|You will pay {cost}[ for it|].]"
    )
    return Turn(question, answer, (fact_price(v, w, item, shop),), cost)


def ask_cheapest(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    best = w.cheapest(item)
    others = [shop for shop in w.shops if shop != best]
    v.rng.shuffle(others)
    pack = item.packs()
    question = v.say(
        f"[Where [is|can I get] {pack} [cheapest|for the least money]?|Which shop [is best for|"
        f"has the cheapest] {item.name}?"
        f"|Where should I buy {item.name} if I want to save money?|I need {pack}. Where is it cheapest?]"
    )
    rest = listing([f"{shop} asks {w.money(w.price(item, shop))}" for shop in others])
    cost = w.money(w.price(item, best))
    answer = v.say(
        f"[{best}: {cost} a {item.unit}.|Go to {best}, where {pack} costs {cost}.|"
        f"{best} is cheapest, with {cost} a {item.unit}.]"
        f"[| {rest}.| For comparison, {rest}.]"
    )
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for shop in w.shops), best)


def ask_difference(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    shop_a, shop_b = v.sample(w.shops, 2)
    cheap, dear = sorted((shop_a, shop_b), key=lambda shop: w.price(item, shop))
    low, high = w.price(item, cheap), w.price(item, dear)
    pack = item.packs()
    question = v.say(
        f"[Is {pack} cheaper at {shop_a} or at {shop_b}?|How much do I save on {pack} if I choose well between "
        f"{shop_a} and {shop_b}?"
        f"|{shop_a} or {shop_b} for {item.name}?|Compare {shop_a} and {shop_b} for {pack}.]"
    )
    gap = w.money(high - low)
    answer = v.say(
        f"[{cheap} is cheaper|It is cheaper at {cheap}|Take {cheap}]: {w.money(low)} against {w.money(high)} at {dear}"
        f"[, so you save {gap}|, a difference of {gap}|. You keep {gap}]."
    )
    return Turn(question, answer, (fact_price(v, w, item, shop_a), fact_price(v, w, item, shop_b)), cheap)


def ask_hours(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hours = w.hours(shop, day)
    question = v.say(
        f"[When does {shop} open on {day}[s|]?|What are the hours of {shop} on {day}?|"
        f"How long is {shop} open on {day}s?"
        f"|Is {shop} open on {day}?|I want to go to {shop} on {day}[. When is it open?|, when does it open?]]"
    )
    if hours is None:
        answer = v.say(
            f"[{shop} is closed on {day}s.|Not at all, it is closed on {day}s.|"
            f"It stays shut on {day}s. Go another day.]"
        )
        return Turn(question, answer, (fact_hours(v, w, shop, day),), "closed")
    answer = v.say(
        f"[From {hours[0]} to {hours[1]}.|{shop} is open from {hours[0]} to {hours[1]} on {day}s.|"
        f"It opens at {hours[0]} and closes at {hours[1]}."
        f"|On {day} you can shop there from {hours[0]} until {hours[1]}.]"
    )
    return Turn(question, answer, (fact_hours(v, w, shop, day),), hours[1])


def ask_open_now(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hour, minute = v.number(7, 20), v.pick(("15", "45", "20", "40"))
    question = v.say(
        f"It is {day}, {hour}:{minute}. [Is {shop} [still |]open|Can I still [go|run] to {shop}|"
        f"Would I find {shop} open][| now]?"
    )
    hours = w.hours(shop, day)
    if hours is None:
        answer = v.say(
            f"[No, {shop} is closed on {day}s.|No. They do not open on {day}s.|"
            f"I am afraid not, {day} is their day off.]"
        )
    else:
        opens, closes = (int(time.replace(":", "")) for time in hours)
        now = hour * 100 + int(minute)
        if now < opens:
            answer = v.say(
                f"[Not yet. It opens at {hours[0]}.|No, they open at {hours[0]} on {day}s.|"
                f"You are early: {shop} opens at {hours[0]}.]"
            )
        elif now >= closes:
            answer = v.say(
                f"[No, it closed at {hours[1]}.|Too late, {shop} closes at {hours[1]} on {day}s.|"
                f"No. They shut at {hours[1]}.]"
            )
        else:
            answer = v.say(
                f"[Yes, until {hours[1]}.|Yes, {shop} is open until {hours[1]}.|You can, they close at {hours[1]}.]"
            )
    return Turn(question, answer, (fact_hours(v, w, shop, day),))


def ask_place(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    they, them, they_are = ("they", "them", "They are") if item.plural else ("it", "it", "It is")
    shelf = w.place(item)
    question = v.say(
        f"[Where {item.be} the {item.name}?|Where do [we|you] keep the {item.name}?|"
        f"I cannot find the {item.name}.[| Where {item.be} {they}?]"
        f"|Where [should|do] I put the {item.name}[| when I unpack the shopping]?|Has anyone seen the {item.name}?]"
    )
    answer = v.say(
        f"[{they_are} {shelf}.|The {item.name} {item.be} {shelf}.|Look {shelf}.|[We keep the {item.name}|"
        f"We keep {them}] {shelf}.|{shelf}.]"
    )
    return Turn(question, answer, (fact_place(v, w, item),), shelf)


def ask_stock(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS)
    count = w.stock(item)
    much = "many" if item.plural else "much"
    question = v.say(
        f"[Do we [still |]have any {item.name}?|{item.be} there any {item.name} left?|"
        f"Do I need to buy {item.name}?|How {much} {item.name} {item.be} left?]"
    )
    buying, counting = question.startswith("Do I"), question.startswith("How")
    if count:
        start = "" if counting else v.pick(("", "No, " if buying else "Yes, "))
        be = "is" if count == 1 else "are"
        packs = item.packs(count)
        answer = v.say(
            f"{start}[there {be} {packs}[ in the house| left|]|we [still |]have {packs}][, {w.place(item)}|]."
        )
    else:
        start = "" if counting else "Yes, " if buying else "No, "
        best = w.cheapest(item)
        pack = item.packs()
        answer = v.say(
            f"{start}[we are out of {item.name}|there {item.be} no {item.name} left|we have run out of {item.name}]."
            f"[| Put {pack} on the list.| {best} has {pack} for {w.money(w.price(item, best))}.]"
        )
    return Turn(question, answer, (fact_stock(w, item),))


def ask_brand(v: Voice, w: World) -> Turn:
    item = v.pick(ITEMS[16:])
    brand = w.brand(item)
    ones, come = ("ones", "come") if item.plural else ("one", "comes")
    question = v.say(
        f"[Which brand of {item.name} do we [buy|take|like]?|What {item.name} do we usually get?|"
        f"There are five brands of {item.name} here. Which one?]"
    )
    answer = v.say(f"[{brand}.|We [always |]buy {brand}.|Take the {item.name} from {brand}.|The {ones} from {brand}.]")
    fact = v.say(f"[We buy {brand} {item.name}.|Our {item.name} {come} from {brand}.]")
    return Turn(question, answer, (fact,), brand)


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say(
        f"[What is for dinner on {day}?|What do we eat on {day}?|What are we having on {day}[| evening]?|"
        f"{day}'s dinner?"
        f"|What does the menu say for {day}?]"
    )
    cook = w.cook(day)
    answer = v.say(
        f"[{dish.name}.|On {day} we have {dish.name}.|It is {dish.name}[ on {day}|].|{day} is for {dish.name}.]"
        f"[| {cook} cooks.| {cook} is cooking.| It takes {w.minutes(dish)} minutes.]"
    )
    facts = (fact_dinner(v, w, day), f"{cook} cooks on {day}s.", fact_minutes(v, w, dish))
    return Turn(question, answer, facts, dish.name)


def ask_which_day(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    question = v.say(
        f"[When do we have {dish.name}?|On which day {dish.be} {dish.name} on the menu?|"
        f"Which evening do we eat {dish.name}?|When is it time for {dish.name} [again|this week]?]"
    )
    answer = v.say(f"[On {day}.|{day}.|The {dish.name} {dish.be} on {day}.|We have {dish.name} on {day}.]")
    return Turn(question, answer, (fact_dinner(v, w, day),), day)


def ask_cook(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    name = w.cook(day)
    question = v.say(
        f"[Who cooks on {day}?|Whose turn is it [to cook|in the kitchen] on {day}?|Who is cooking on {day}?]"
    )
    answer = v.say(
        f"[{name}.|{name} cooks on {day}[s|].|It is {name}'s turn.|{name} does, and it will be {w.dinner(day).name}.]"
    )
    return Turn(question, answer, (f"{name} cooks on {day}s.", fact_dinner(v, w, day)), name)


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.4):
        hour = v.pick((12, 13, 18, 19, 20))
        start = hour * 60 - minutes
        question = v.say(
            f"[When do I have to start the {dish.name} if we eat at {hour}:00?|"
            f"Dinner at {hour}:00, and it is {dish.name}. When do I start?"
            f"|We want {dish.name} on the table at {hour}:00. When should I begin?]"
        )
        clock = f"{start // 60}:{start % 60:02d}"
        answer = v.say(
            f"[{minutes} minutes before {hour}:00 is {clock}.|It takes {minutes} minutes, so start at "
            f"{clock}.|Begin at {clock}, because it needs {minutes} minutes.]"
        )
    else:
        es = "" if dish.plural else "es"
        question = v.say(
            f"[How long do{es} the {dish.name} take?|How many minutes for {dish.name}?|"
            f"How long do I need for {dish.name}?|{dish.be} {dish.name} quick to make?]"
        )
        answer = v.say(
            f"[{minutes} minutes.|It takes {minutes} minutes.|Count on {minutes} minutes.|"
            f"The {dish.name} need{dish.s} {minutes} minutes[| from start to finish].]"
        )
        if "quick" in question:
            quick = "Yes" if minutes <= 30 else "Not really"
            answer = v.say(f"{quick}[: it takes {minutes} minutes|, {minutes} minutes|, you need {minutes} minutes].")
    return Turn(question, answer, (fact_minutes(v, w, dish),), f"{minutes} minutes")


def ask_ingredients(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    es = "" if dish.plural else "es"
    question = v.say(
        f"[What goes into [the|our] {dish.name}?|What do I need for {dish.name}?|"
        f"Remind me what is in our {dish.name}.|Which ingredients do{es} the {dish.name} take?]"
    )
    every = listing([str(amount) for amount in dish.amounts])
    secret = w.secret(dish)
    answer = v.say(
        f"[For four people: |You need |Take |For four of us you need ]{every}.[| And do not forget {secret}.|"
        f" We add {secret}.| The secret is {secret}.]"
    )
    return Turn(question, answer, (fact_recipe(w, dish), f"Our {dish.name} get{dish.s} {secret}."))


def ask_secret(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    question = v.say(
        f"[What is the secret of our {dish.name}?|What do we [add|put in] at the end for {dish.name}?|"
        f"The {dish.name} taste{dish.s} flat. What did I forget?]"
    )
    secret = w.secret(dish)
    answer = v.say(f"[{secret}.|It needs {secret}.|We always add {secret}.|The secret is {secret}.]")
    return Turn(question, answer, (f"Our {dish.name} get{dish.s} {secret}.",), secret)


def ask_scaled(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((2, 6, 8, 12))
    amounts = [str(amount.scaled(Fraction(people, 4))) for amount in dish.amounts]
    day = v.pick(DAYS)
    question = v.say(
        f"[We are {people} on {day}. How much do I need for {dish.name}?|"
        f"How do I make {dish.name} for {people}?|{dish.name} for {people} people, please."
        f"|{people} people are coming[| for dinner]. What do I need for {dish.name}?|"
        f"Our {dish.name} recipe is for four. What do I take for {people}?]"
    )
    factor = {
        2: "half of everything",
        6: "one and a half times the amounts",
        8: "double the amounts",
        12: "three times the amounts",
    }[people]
    every = listing(amounts)
    answer = v.say(
        f"[For {people} people you need {every}.|The recipe is for four, so take {factor}: {every}.|"
        f"{factor}: {every}.|Take {every}.]"
    )
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_allergy(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    if v.chance(0.3):
        question = v.say(
            f"[Is {member.name} allergic to anything?|What is {member.name} allergic to?|"
            f"Does {member.name} have an allergy?]"
        )
        yes = "" if question.startswith("What") else "Yes, "
        answer = v.say(
            f"[{yes}{member.allergy}.|{member.name} is allergic to {member.allergy}.|"
            f"{member.name} must not have {member.allergy}.]"
            if member.allergy
            else f"[{member.name} has no allergies.|{member.name} can eat everything.|No allergies that we know of.]"
        )
        return Turn(question, answer, (fact_allergy(v, w, member.name),), member.allergy)
    dish = v.pick(w.dishes)
    question = v.say(
        f"[Can {member.name} eat [the|our] {dish.name}?|{dish.be.capitalize()} {dish.name} safe for "
        f"{member.name}?|We have {dish.name} tonight. Is that all right for {member.name}?"
        f"|{member.name} is eating with us. Can I make {dish.name}?]"
    )
    culprits = dish.culprits(member.allergy)
    if culprits:
        swap = v.pick(("", "".join(f" Use {SUBSTITUTES[name]} instead of the {name}." for name in culprits)))
        be = "are" if len(culprits) > 1 or ITEM[culprits[0]].plural else "is"
        what = listing(culprits)
        answer = v.say(
            f"[No: {member.name} is allergic to {member.allergy}, and there {be} {what} in it.|"
            f"No. {what} {be} in it, and {member.name} must not have {member.allergy}."
            f"|Careful! It contains {what}, and {member.name} is allergic to {member.allergy}.]{swap}"
        )
    elif member.allergy:
        be = "are" if member.allergy in ("nuts", "eggs") else "is"
        answer = v.say(
            f"[Yes. {member.name} is allergic to {member.allergy}, but there {be} none in the {dish.name}.|"
            f"Yes, it contains no {member.allergy}.|Yes, that is fine: no {member.allergy} in it.]"
        )
    else:
        answer = v.say(
            f"[Yes, {member.name} has no allergies.|Yes, {member.name} can eat everything.|"
            f"Of course. {member.name} has no allergies.]"
        )
    return Turn(question, answer, (fact_allergy(v, w, member.name), fact_recipe(w, dish)))


def ask_who_cannot(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    hit = w.eaters_with(dish.allergens)
    question = v.say(
        f"[Who [at home|in the family|of us] cannot eat {dish.name}?|"
        f"{dish.be.capitalize()} {dish.name} fine for all of us?|Can everybody eat the {dish.name}?]"
    )
    if hit:
        reasons = listing(
            [f"{m.name}, who is allergic to {m.allergy} ({listing(dish.culprits(m.allergy))})" for m in hit],
            last=", and ",
        )
        answer = v.say(
            f"[Not {reasons}.|It is not for {reasons}.|Everyone except {reasons}.]"
            if not question.startswith("Who")
            else f"[{reasons}.|It is not for {reasons}.|That is {reasons}.]"
        )
    else:
        answer = v.say(
            "[Nobody has to go without: everyone can eat it.|It is fine for everyone.|"
            f"All {len(w.names)} of us can eat it.]"
        )
    return Turn(question, answer, (*(fact_allergy(v, w, m.name) for m in w.members), fact_recipe(w, dish)))


def ask_total(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    basket = [(item, v.pick((1, 1, 1, 2, 3))) for item in v.sample(ITEMS, v.number(2, 4))]
    lines = [(item, count, count * w.price(item, shop)) for item, count in basket]
    total = sum(cents for _, _, cents in lines)
    wanted = listing([item.packs(count) for item, count in basket])
    question = v.say(
        f"[What do {wanted} cost at {shop}[| together|, all in all]?|"
        f"I am at {shop} for {wanted}. How much [money do I need|will that be]?"
        f"|How much will I spend at {shop} on {wanted}?|Add up {wanted} at {shop}[| for me], please.]"
    )
    parts = [
        f"{item.name} {w.money(cents)}"
        if count == 1
        else f"{item.name} {count} x {w.money(cents // count)} = {w.money(cents)}"
        for item, count, cents in lines
    ]
    cost = w.money(total)
    answer = v.say(
        f"{', '.join(parts)}[. Together that is {cost}.|. In all, {cost}.|. The total is {cost}.|. You need {cost}.]"
    )
    if v.chance(0.25):
        note = next(note for note in (1000, 2000, 5000, 10000) if note > total)
        paid, change = f"{w.currency}{note // 100}", w.money(note - total)
        question += f" And the change from {paid}?"
        answer += v.say(
            f" [From {paid} you get {change} back.|Your change is {change}.|{paid} minus {cost} leaves {change}.]"
        )
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for item, _ in basket), cost)


def ask_offer(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    day, percent = w.offer_day(shop)
    fact = v.say(
        f"[{shop} takes {percent} percent off on {day}s.|On {day}s everything at {shop} is {percent} percent cheaper.]"
    )
    if v.chance(0.5):
        question = v.say(
            f"[When does {shop} have [its|the] offers?|On which day is {shop} cheaper?|"
            f"Does {shop} ever give a discount?]"
        )
        answer = v.say(
            f"[On {day}s, {percent} percent off.|Every {day} you get {percent} percent off there.|"
            f"On {day}s you save {percent} percent.]"
        )
        return Turn(question, answer, (fact,), day)
    item = v.pick(ITEMS)
    price = w.price(item, shop)
    saved = (price * percent + 50) // 100
    full, off, net = w.money(price), w.money(saved), w.money(price - saved)
    pack = item.packs()
    question = v.say(
        f"[What does {pack} cost at {shop} on {day}, with the discount?|How much is {pack} at {shop} on its offer day?]"
    )
    answer = v.say(
        f"[{full} less {percent} percent ({off}) is {net}.|On {day}s you save {off}, so {net} instead of {full}.]"
    )
    return Turn(question, answer, (fact, fact_price(v, w, item, shop)))


def ask_substitute(v: Voice, w: World) -> Turn:
    name = v.pick(tuple(SUBSTITUTES))
    dish = v.pick([dish.name for dish in w.dishes if any(a.item.name == name for a in dish.amounts)] or ["recipe"])
    swap = SUBSTITUTES[name]
    question = v.say(
        f"[What can I [use|take] instead of {name}[| in the {dish}]?|"
        f"We have no {name} for the {dish}. What now?|I am out of {name}. Is there a substitute?]"
    )
    answer = v.say(f"[Take {swap}.|Use {swap}[| instead].|{swap} will do.|[I would use|We usually take] {swap}.]")
    return Turn(question, answer)


def ask_unit_price(v: Voice, w: World) -> Turn:
    item = v.pick(
        [ITEM[name] for name in ("rice", "coffee", "oats", "flour", "sugar", "lentils", "raisins", "walnuts", "pasta")]
    )
    small, large = v.pick(((200, 500), (250, 1000), (500, 1000), (300, 500), (400, 1000)))
    base = max(8, round(item.base_cents / 10))
    per_small = base + v.number(1, 9)
    per_large = per_small + v.pick((-6, -5, -4, -3, -2, 2, 3))
    brand_a, brand_b = v.sample(["Alder", "Tern", "Linden", "Redcap", "Upland", "Hearth"], 2)
    costs = small * per_small * 2 // 100, large * per_large * 2 // 100
    unit = [2 * per_small, 2 * per_large]
    best = brand_a if unit[0] < unit[1] else brand_b
    packs = [
        f"{small} g of {brand_a} for {w.money(costs[0])}",
        f"{large} g of {brand_b} for {w.money(costs[1])}",
    ]
    question = v.say(
        f"[Which {item.name} {item.be} the better buy: {packs[0]} or {packs[1]}?|"
        f"{packs[0]}, or {packs[1]}: which {item.name} {item.be} cheaper?|"
        f"{item.name}: {packs[0]} or {packs[1]}?]"
    )
    answer = v.say(
        f"{brand_a} [costs|is] {w.money(unit[0])} per 100 g, {brand_b} {w.money(unit[1])}[. {best} is cheaper.|"
        f", so take {best}.|. Take {best}.]"
    )
    return Turn(question, answer)


def ask_missing(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    missing = [amount.item for amount in dish.amounts if not w.stock(amount.item)]
    question = v.say(
        f"[What do I have to buy for {day}?|What is missing for {day}'s dinner?|Make me a shopping list for {day}."
        f"|Do we have everything for the {dish.name} on {day}?]"
    )
    facts = [fact_dinner(v, w, day), fact_recipe(w, dish), *(fact_stock(w, amount.item) for amount in dish.amounts)]
    if not missing:
        answer = v.say(
            f"[Nothing: everything for the {dish.name} is in the house.|"
            f"We have all of it. {day} is for {dish.name}.|Nothing is missing for the {dish.name}.]"
        )
        return Turn(
            question, answer.replace("Nothing: e", "Yes, e") if question.startswith("Do we") else answer, tuple(facts)
        )
    what = listing([item.name for item in missing])
    no_what = listing([f"no {item.name}" for item in missing])
    it = "them" if len(missing) > 1 or missing[0].plural else "it"
    answer = v.say(
        f"[{day} is for {dish.name}. We need {what}.|For the {dish.name} we still need {what}.|"
        f"There is {no_what} in the house, and we need {it} for the {dish.name}.]"
    )
    if v.chance(0.4):
        shop = v.pick(w.shops)
        cost = w.money(sum(w.price(item, shop) for item in missing))
        answer += v.say(
            f" [At {shop} one pack of each comes to {cost}.|One pack of each costs {cost} at {shop}.]"
            if len(missing) > 1
            else f" [At {shop} that is {cost} a {missing[0].unit}.|It costs {cost} a {missing[0].unit} at {shop}.]"
        )
        facts += [fact_price(v, w, item, shop) for item in missing]
    return Turn(question, answer, tuple(facts))


def ask_cook_with(v: Voice, w: World) -> Turn:
    item = v.pick(v.pick(w.dishes).amounts).item
    much, it = ("many", "them") if item.plural else ("much", "it")
    fitting = [dish for dish in w.dishes if any(a.item == item for a in dish.amounts)]
    question = v.say(
        f"[What can I cook with {item.name}?|We have [a lot of|too {much}|plenty of] {item.name}. Any ideas?|"
        f"There {item.be} {item.name} left over. What do we make of {it}?|"
        f"Which of our dishes use {item.name}?]"
    )
    every = listing([d.name for d in fitting], last=" or ")
    answer = v.say(f"[{every}.|You could make {every}.|We could have {every}.]")
    return Turn(question, answer, tuple(fact_recipe(w, dish) for dish in fitting), fitting[0].name)


def ask_birthday(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    question = v.say(
        f"[When is {member.name}'s birthday?|Which day is {member.name}'s birthday?|"
        f"When was {member.name} born, I mean the day?|When do we bake a cake for {member.name}?]"
    )
    answer = v.say(
        f"[On {member.birthday}.|{member.name}'s birthday is on {member.birthday}.|{member.birthday}.|"
        f"It is on {member.birthday}.]"
    )
    return Turn(question, answer, (f"{member.name}'s birthday is on {member.birthday}.",), member.birthday)


def ask_taste(v: Voice, w: World) -> Turn:
    member = v.pick(w.members)
    favourite = w.favourite(member).name
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say(
            f"[What is {member.name}'s favourite [dish|dinner|food]?|What does {member.name} like [best|most]"
            f"?|What shall I cook to please {member.name}?]"
        )
        answer = v.say(f"[{favourite}.|{member.name} loves {favourite}.|Make {favourite}, {member.name}'s favourite.]")
        return Turn(question, answer, (f"{member.name} loves {favourite}.",), favourite)
    if kind == 1:
        question = v.say(
            f"[What does {member.name} not like?|Is there anything that {member.name} leaves on the plate?|"
            f"What should I not serve {member.name}?]"
        )
        answer = v.say(
            f"[{member.dislikes}.|{member.name} does not like {member.dislikes}.|"
            f"{member.name} never eats {member.dislikes}.]"
        )
        return Turn(question, answer, (f"{member.name} does not like {member.dislikes}.",), member.dislikes)
    question = v.say(
        f"[What should I bring {member.name} from the shop?|What does {member.name} like to [snack on|"
        "have in the house]?]"
    )
    answer = v.say(f"[{member.likes}.|{member.name} is always happy about {member.likes}.|Bring {member.likes}.]")
    return Turn(question, answer, (f"{member.name} is fond of {member.likes}.",), member.likes)


def ask_budget(v: Voice, w: World) -> Turn:
    spent = [v.number(60, w.budget // 25) * 5 for _ in range(v.number(2, 4))]
    left = w.budget - sum(spent)
    bills = listing([w.money(cents) for cents in spent])
    question = v.say(
        f"[We have spent {bills} this week. How much of the budget is left?|"
        f"I paid {bills}. What is left [for the week|of the food money]?"
        f"|Bills so far: {bills}. Are we within the budget?]"
    )
    rest = w.money(abs(left))
    end = (
        f"[which leaves {rest}|and {rest} remains|so {rest} is left]"
        if left >= 0
        else f"[so we are {rest} over|and that is {rest} too much]"
    )
    answer = v.say(
        f"[The budget is|We have] {w.money(w.budget)} a week. [You have spent|The bills come to]"
        f" {w.money(sum(spent))}, {end}."
    )
    return Turn(question, answer, (f"Our weekly food budget is {w.money(w.budget)}.",), rest)


def ask_street(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    question = v.say(
        f"[Where is {shop}?|In which street is {shop}?|How do I find {shop}?|What is the address of {shop}?]"
    )
    street = w.street(shop)
    answer = v.say(f"[In {street}.|{shop} is in {street}.|It is in {street}.|Go to {street}.]")
    return Turn(question, answer, (v.say(f"{shop} is in {street}."),), street)


def ask_dish_cost(v: Voice, w: World) -> Turn:
    dish, shop = v.pick(w.dishes), v.pick(w.shops)
    items = [amount.item for amount in dish.amounts]
    costs = [w.price(item, shop) for item in items]
    question = v.say(
        f"[What does it cost to buy everything for {dish.name} at {shop}?|"
        f"If I buy one pack of everything for {dish.name} at {shop}, what do I pay?]"
    )
    parts = ", ".join(f"{i.name} {w.money(c)}" for i, c in zip(items, costs, strict=True))
    cost = w.money(sum(costs))
    answer = v.say(f"{parts}[. One pack of each comes to {cost}.|. Together {cost}.|. That makes {cost}.]")
    return Turn(question, answer, (fact_recipe(w, dish), *(fact_price(v, w, item, shop) for item in items)), cost)


KEEPS = (
    ("cooked rice", "one day", "in a closed box in the fridge"),
    ("soup", "three days", "in the fridge"),
    ("cooked pasta", "two days", "in the fridge"),
    ("roast chicken", "two days", "in the fridge"),
    ("cut cabbage", "a week", "wrapped, in the vegetable drawer"),
    ("bread", "three days", "in a cloth bag"),
    ("hummus", "four days", "in a jar in the fridge"),
    ("cooked fish", "one day", "in the fridge"),
    ("stew", "three days", "covered in the fridge"),
    ("crumble", "two days", "under a cloth"),
)


def ask_leftovers(v: Voice, w: World) -> Turn:
    what, days, how = v.pick(KEEPS)
    if v.chance(0.3):
        question = v.say(
            f"[Where do I put the left-over {what}?|How do I store {what}?|The {what} is left over. Where does it go?]"
        )
        answer = v.say(f"[Keep it {how}.|Put it {how}. There it keeps {days}.|{how}, for {days} at most.]")
        return Turn(question, answer)
    question = v.say(
        f"[How long does {what} keep?|There is {what} left from dinner. How long can we eat it?|"
        f"Can I still use {what} from yesterday?]"
    )
    answer = v.say(f"[It keeps {days}, {how}.|Keep it {how} and eat it within {days}.|{days}, {how}.]")
    return Turn(question, "Yes. " + answer if question.startswith("Can I") else answer)


def ask_members(v: Voice, w: World) -> Turn:
    question = v.say(
        f"[Who lives [here|with us]?|How many are we at the table?|Who is in the {w.surname} family?|"
        "How many plates do I need tonight?]"
    )
    count = len(w.names)
    every = listing(w.names)
    answer = v.say(
        f"[{count}: {every}.|{count} plates, for {every}.]"
        if "plates" in question
        else f"[{count} people: {every}.|We are {count}: {every}.|{every}, so {count} in all.]"
    )
    return Turn(question, answer, (f"The {w.surname} family: {every}.",), every)


#: Questions about what only this household knows; their answers can be checked.
PRIVATE: tuple[Question[World], ...] = (
    ask_price,
    ask_hours,
    ask_place,
    ask_brand,
    ask_dinner,
    ask_which_day,
    ask_cook,
    ask_minutes,
    ask_secret,
    ask_birthday,
    ask_taste,
    ask_street,
    ask_cheapest,
)
QUESTIONS = (
    *PRIVATE,
    ask_price,
    ask_price,
    ask_difference,
    ask_open_now,
    ask_stock,
    ask_ingredients,
    ask_scaled,
    ask_allergy,
    ask_allergy,
    ask_who_cannot,
    ask_total,
    ask_total,
    ask_offer,
    ask_substitute,
    ask_unit_price,
    ask_missing,
    ask_cook_with,
    ask_budget,
    ask_dish_cost,
    ask_leftovers,
    ask_members,
)
