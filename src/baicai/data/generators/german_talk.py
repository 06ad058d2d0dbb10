"""Was man zu Hause und im Büro fragt: questions and answers of everyday German."""

from baicai.data.generators.conversation import Question, Turn
from baicai.data.generators.german_world import (
    ALL_ITEMS,
    DAYS,
    DUTY,
    MEETING,
    TOOL,
    WASTE,
    Dish,
    Item,
    Noun,
    Person,
    Relative,
    World,
    clock,
    euro,
)
from baicai.data.generators.phrasing import Voice, listing


def joined(parts: list[str]) -> str:
    return listing(parts, " und ")


def fact_price(v: Voice, w: World, item: Item, shop: str) -> str:
    pack = item.packs(case="nom")
    cost = euro(w.price(item, shop))
    return v.say(
        f"[{pack} kostet bei {shop} {cost}.|Bei {shop} kostet {pack} {cost}.|"
        f"{shop} verkauft {item.packs()} für {cost}.]"
    )


def fact_hours(v: Voice, w: World, shop: str, day: str) -> str:
    hours = w.hours(shop, day)
    if hours is None:
        return v.say(f"[{shop} hat am {day} geschlossen.|Am {day} ist {shop} zu.|Am {day} macht {shop} nicht auf.]")
    return v.say(
        f"[{shop} hat am {day} von {hours[0]} bis {hours[1]} Uhr geöffnet.|"
        f"Am {day} öffnet {shop} um {hours[0]} Uhr und schließt um {hours[1]} Uhr.|"
        f"{shop}, {day}: {hours[0]} bis {hours[1]} Uhr.]"
    )


def fact_place(v: Voice, w: World, item: Item) -> str:
    noun, place = item.noun, w.place(item)
    return v.say(
        f"[{noun.der} {noun.be} {place}.|{noun.den} [findest du|findet man] {place}.|"
        f"Wir bewahren {noun.den} {place} auf.]"
    )


def fact_dinner(v: Voice, w: World, day: str) -> str:
    dinner = w.dinner(day).name
    return v.say(f"[Am {day} gibt es {dinner}.|Am {day} essen wir {dinner}.|{day}: {dinner}.]")


def fact_recipe(w: World, dish: Dish) -> str:
    return f"Für {dish.noun.den} (vier Personen) braucht man {joined([part.times(4) for part in dish.parts])}."


def fact_relative(v: Voice, person: Relative) -> str:
    if person.intolerance:
        return v.say(
            f"[{person.name} verträgt {person.intolerance}.|{person.name} darf {person.intolerance} zu sich "
            f"nehmen.|Bitte daran denken: {person.name} verträgt {person.intolerance}.]"
        )
    return v.say(
        f"[{person.name} verträgt alles.|{person.name} kann alles essen.|Bei {person.name} muss man auf nichts achten.]"
    )


def fact_minutes(w: World, dish: Dish) -> str:
    return f"Für {dish.noun.den} brauchen wir {w.minutes(dish)} Minuten."


def fact_waste(v: Voice, w: World, waste: Noun) -> str:
    day = w.waste_day(waste)
    return v.say(
        f"[{waste.der} wird am {day} abgeholt.|Am {day} wird {waste.der} abgeholt.|"
        f"Am {day} kommt die Abfuhr für {waste.den}.]"
    )


def fact_laundry(v: Voice, w: World, who: Person) -> str:
    laundry_day = w.laundry_day(who)
    return v.say(
        f"[Am {laundry_day} wäscht {who.name}.|Die Waschküche gehört am {laundry_day} {who.oblique}.|"
        f"{who.name} hat am {laundry_day} Waschtag.]"
    )


def fact_floor(v: Voice, w: World, who: Person) -> str:
    return v.say(f"[{who.name} wohnt {w.floor(who)}.|{w.floor(who)} wohnt {who.name}.]")


def fact_room(v: Voice, w: World, who: Person) -> str:
    room = w.room(who)
    return v.say(
        f"[{who.name} sitzt in Zimmer {room}.|Zimmer {room}: {who.name}.|In Zimmer {room} arbeitet {who.name}.]"
    )


def fact_duty(v: Voice, w: World, duty: Noun) -> str:
    name = w.duty_of(duty).name
    return v.say(
        f"[{name} kümmert sich um {duty.den}.|Für {duty.den} ist {name} zuständig.|Um {duty.den} kümmert sich {name}.]"
    )


def fact_meeting(v: Voice, w: World, meeting: Noun) -> str:
    day, start, length, who = w.appointment(meeting)
    time = clock(start)
    return v.say(
        f"[{meeting.der} mit {who.oblique} ist am {day} um {time} und dauert {length} Minuten.|"
        f"Am {day} um {time} beginnt {meeting.der} mit {who.oblique}, Dauer {length} Minuten.]"
    )


def ask_price(v: Voice, w: World) -> Turn:
    item, shop = v.pick(ALL_ITEMS), v.pick(w.shops)
    cost = euro(w.price(item, shop))
    pack = item.packs(case="nom")
    question = v.say(
        f"[Was kostet {pack} bei {shop}?|Wie teuer ist {pack} bei {shop}?|Wie viel kostet {pack} bei {shop}?|"
        f"Was zahle ich bei {shop} für {item.packs()}?|Weißt du, was {pack} bei {shop} kostet?]"
    )
    answer = v.say(
        f"[{cost}.|{pack} kostet dort {cost}.|Das kostet {cost}.|Bei {shop} kostet {pack} {cost}.|Du zahlst {cost}.]"
    )
    return Turn(question, answer, (fact_price(v, w, item, shop),), cost.removesuffix(" Euro"))


def ask_cheapest(v: Voice, w: World) -> Turn:
    item = v.pick(ALL_ITEMS)
    best = w.cheapest(item)
    cost = euro(w.price(item, best))
    question = v.say(
        f"[Wo {item.noun.be} {item.name} am billigsten?|Welcher Laden hat {item.name} am günstigsten?|"
        f"Wo bekomme ich {item.packs()} für das wenigste Geld?|Wo soll ich {item.name} kaufen?]"
    )
    others = joined([f"{shop} verlangt {euro(w.price(item, shop))}" for shop in w.shops if shop != best])
    answer = v.say(
        f"[Bei {best}, dort kostet {item.packs(case='nom')} {cost}.|Am günstigsten ist {best} mit {cost}.|"
        f"{best} ist am billigsten: {cost}.|Geh zu {best}, da zahlst du {cost}.][| {others}.]"
    )
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for shop in w.shops), best)


def ask_hours(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hours = w.hours(shop, day)
    question = v.say(
        f"[Wann hat {shop} am {day} offen?|Wie lange hat {shop} am {day} geöffnet?|Hat {shop} am {day} auf?|"
        f"Kann ich am {day} zu {shop} gehen?|Welche Öffnungszeiten hat {shop} am {day}?]"
    )
    yes_or_no = question.startswith(("Hat", "Kann"))
    fact = fact_hours(v, w, shop, day)
    if hours is None:
        no = "Nein" if yes_or_no else "Gar nicht"
        return Turn(
            question,
            v.say(f"[Am {day} ist {shop} geschlossen.|{no}, am {day} ist zu.|Am {day} hat {shop} zu.]"),
            (fact,),
        )
    opens, closes = hours
    if yes_or_no:
        answer = v.say(
            f"[Ja, von {opens} bis {closes} Uhr.|Ja. {shop} hat am {day} von {opens} bis {closes} Uhr "
            f"geöffnet.|Ja, bis {closes} Uhr.]"
        )
    else:
        answer = v.say(
            f"[Von {opens} bis {closes} Uhr.|{shop} hat am {day} von {opens} bis {closes} Uhr geöffnet.|"
            f"Am {day} von {opens} Uhr bis {closes} Uhr.]"
        )
    return Turn(question, answer, (fact,), f"{closes} Uhr")


def ask_place(v: Voice, w: World) -> Turn:
    item = v.pick(ALL_ITEMS)
    noun, place = item.noun, w.place(item)
    question = v.say(
        f"[Wo {noun.be} {noun.der}?|Wo finde ich {noun.den}?|"
        f"Ich finde {noun.den} nicht. Wo {noun.be} {noun.pronoun}?|Wo bewahren wir {noun.den} auf?|"
        f"Hast du {noun.den} gesehen?]"
    )
    if question.startswith("Hast"):
        answer = v.say(f"[Ja, {place}.|{noun.der} {noun.be} {place}.|Schau mal {place} nach.]")
    else:
        answer = v.say(
            f"[{place}.|{noun.der} {noun.be} {place}.|Schau mal {place}.|Du findest {noun.pronoun_akk} {place}.]"
        )
    return Turn(question, answer, (fact_place(v, w, item),), place.split(" ", 1)[1])


def ask_total(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    basket = [(item, v.pick((1, 1, 2, 3))) for item in v.sample(ALL_ITEMS, v.number(2, 3))]
    total = sum(count * w.price(item, shop) for item, count in basket)
    wanted = joined([item.packs(count) for item, count in basket])
    question = v.say(
        f"[Ich brauche {wanted}. Was kostet das bei {shop} zusammen?|Was zahle ich bei {shop} für {wanted}?|"
        f"Wie viel Geld brauche ich bei {shop} für {wanted}?|"
        f"Rechne bitte aus, was {shop} für {wanted} verlangt.]"
    )
    parts = ", ".join(
        f"{item.name} {euro(w.price(item, shop))}"
        if count == 1
        else f"{item.name} {count} mal {euro(w.price(item, shop))}, das sind {euro(count * w.price(item, shop))}"
        for item, count in basket
    )
    cost = euro(total)
    answer = v.say(
        f"{parts}. [Zusammen sind das {cost}.|Das macht {cost}.|Insgesamt kostet das {cost}.|Die Summe ist {cost}.]"
    )
    if v.chance(0.3):
        note = next(note for note in (1000, 2000, 5000, 10000) if note > total)
        question += f" Wie viel bekomme ich auf {note // 100} Euro zurück?"
        change = euro(note - total)
        answer += v.say(
            f" [Auf {note // 100} Euro bekommst du {change} zurück.|Das Rückgeld beträgt {change}.|"
            f"Du bekommst {change} zurück.]"
        )
    return Turn(
        question, answer, tuple(fact_price(v, w, item, shop) for item, _ in basket), euro(total).removesuffix(" Euro")
    )


def ask_waste(v: Voice, w: World) -> Turn:
    waste = v.pick(WASTE)
    day = w.waste_day(waste)
    before = DAYS[DAYS.index(day) - 1]
    if v.chance(0.4):
        question = v.say(f"[Wann muss ich {waste.den} rausstellen?|Wann kommt {waste.der} an die Straße?]")
        answer = v.say(
            f"[Am {before}abend, denn am {day} wird abgeholt.|Am Abend vorher, also am {before}: Abholung ist "
            f"am {day}.]"
        )
    else:
        question = v.say(
            f"[Wann wird {waste.der} abgeholt?|An welchem Tag wird {waste.der} abgeholt?|"
            f"Wann ist die Abholung für {waste.den}?]"
        )
        answer = v.say(f"[Am {day}.|Immer am {day}.|{waste.der} wird am {day} abgeholt.]")
    return Turn(question, answer, (fact_waste(v, w, waste),), day)


def ask_laundry(v: Voice, w: World) -> Turn:
    who = v.pick(w.neighbours)
    day = w.laundry_day(who)
    if v.chance(0.5):
        question = v.say(
            f"[Wer hat am {day} Waschtag?|Wer darf am {day} in die Waschküche?|Wem gehört die Waschküche am {day}?]"
        )
        answer = v.say(
            f"[{who.oblique}, {w.floor(who)}.|Am {day} gehört sie {who.oblique}.]"
            if question.startswith("Wem")
            else f"[{who.name}.|Am {day} wäscht {who.name}.|Das ist {who.name}.]"
        )
        return Turn(question, answer, (fact_laundry(v, w, who), fact_floor(v, w, who)), who.surname)
    question = v.say(
        f"[Wann hat {who.name} Waschtag?|An welchem Tag wäscht {who.name}?|"
        f"Wann ist {who.name} mit der Waschküche an der Reihe?]"
    )
    answer = v.say(f"[Am {day}.|{who.name} wäscht am {day}.|Am {day} ist {who.name} dran.]")
    return Turn(question, answer, (fact_laundry(v, w, who),), day)


def ask_quiet(v: Voice, w: World) -> Turn:
    noon, end, night, morning = w.quiet
    fact = f"Mittagsruhe ist von {noon} bis {end} Uhr, Nachtruhe von {night} bis {morning} Uhr."
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say(
            "[Wann ist Mittagsruhe?|Von wann bis wann ist Mittagsruhe im Haus?|Wann soll es mittags leise sein?]"
        )
        answer = v.say(
            f"[Von {noon} bis {end} Uhr.|Die Mittagsruhe dauert von {noon} bis {end} Uhr.|"
            f"Zwischen {noon} und {end} Uhr.]"
        )
        return Turn(question, answer, (fact,), f"{end} Uhr")
    if kind == 1:
        question = v.say(
            "[Ab wann gilt die Nachtruhe?|Wann beginnt die Nachtruhe?|Bis wann darf ich abends Musik machen?]"
        )
        answer = v.say(
            f"[Bis {night} Uhr.|Bis {night} Uhr, dann ist Ruhe bis {morning} Uhr.|"
            f"Bis {night} Uhr, dann beginnt die Nachtruhe.]"
            if question.startswith("Bis")
            else f"[Ab {night} Uhr.|Um {night} Uhr beginnt die Nachtruhe.|"
            f"Ab {night} Uhr, und sie gilt bis {morning} Uhr.]"
        )
        return Turn(question, answer, (fact,), f"{night} Uhr")
    hour = v.number(7, 23)
    tool = v.pick(("bohren", "staubsaugen", "Klavier spielen", "den Rasen mähen", "hämmern", "Musik hören"))
    question = f"Darf ich um {hour} Uhr {tool}?"
    if noon <= hour < end:
        answer = v.say(f"[Nein, da ist Mittagsruhe.|Bitte nicht: Mittagsruhe ist von {noon} bis {end} Uhr.]")
    elif hour >= night or hour < morning:
        answer = v.say(f"[Nein, ab {night} Uhr ist Nachtruhe.|Das geht nicht, die Nachtruhe gilt ab {night} Uhr.]")
    else:
        rest = noon if hour < noon else night
        answer = v.say(
            f"[Ja, um {hour} Uhr ist keine Ruhezeit.|Ja, das geht.|Ja, die nächste Ruhezeit beginnt um {rest} Uhr.]"
        )
    return Turn(question, answer, (fact,))


def ask_floor(v: Voice, w: World) -> Turn:
    who = v.pick(w.neighbours)
    floor, fact = w.floor(who), fact_floor(v, w, who)
    if v.chance(0.3):
        question = v.say(f"[Wer wohnt {floor}?|Wie heißt der Nachbar oder die Nachbarin {floor}?]")
        return Turn(
            question, v.say(f"[{who.name}.|{floor} wohnt {who.name}.|Dort wohnt {who.name}.]"), (fact,), who.surname
        )
    question = v.say(
        f"[Wo wohnt {who.name}?|In welchem Stock finde ich {who.oblique}?|Wo muss ich bei {who.oblique} klingeln?]"
    )
    answer = v.say(f"[{floor}.|{who.name} wohnt {floor}.|Du findest {who.oblique} {floor}.]")
    return Turn(question, answer, (fact,), floor.split(" ", 1)[1])


def ask_tool(v: Voice, w: World) -> Turn:
    tool = v.pick(TOOL)
    owner = w.owner(tool)
    floor = w.floor(owner)
    question = v.say(
        f"[Wer kann mir {tool.einen} leihen?|Ich brauche {tool.einen}. Wer im Haus hat so etwas?|"
        f"Wir haben {tool.keinen}. Wen kann ich fragen?|Von wem leihen wir uns {tool.den}?]"
    )
    if question.startswith("Von"):
        answer = v.say(
            f"[Von {owner.oblique}.|Von {owner.oblique}, {floor}.|{tool.den} leihen wir uns von {owner.oblique}.]"
        )
    else:
        answer = v.say(
            f"[Frag {owner.oblique}.|{owner.name} hat {tool.einen}.|Klingel bei {owner.oblique}, {floor}.|"
            f"{owner.name} leiht dir gern {tool.einen}.]"
        )
    return Turn(question, answer, (f"{owner.name} hat {tool.einen}.", fact_floor(v, w, owner)), owner.surname)


def ask_key(v: Voice, w: World) -> Turn:
    who = w.key_holder
    floor = w.floor(who)
    question, answer = v.pick(
        (
            (
                "Bei wem liegt unser Ersatzschlüssel?",
                f"[Bei {who.oblique}.|Der Schlüssel liegt bei {who.oblique} {floor}.]",
            ),
            (
                "Ich habe mich ausgesperrt. Wer hat den Ersatzschlüssel?",
                f"[{who.name} hat ihn.|{who.name}, {floor}.|{who.name}. Klingel {floor}.]",
            ),
            (
                "Wem haben wir den Ersatzschlüssel gegeben?",
                f"[{who.oblique}, {floor}.|Wir haben ihn {who.oblique} gegeben.]",
            ),
        )
    )
    facts = (f"Unser Ersatzschlüssel liegt bei {who.oblique}.", fact_floor(v, w, who))
    return Turn(question, v.say(answer), facts, who.surname)


def ask_room(v: Voice, w: World) -> Turn:
    who = v.pick(w.colleagues)
    room = w.room(who)
    question = v.say(
        f"[In welchem Zimmer sitzt {who.name}?|Wo finde ich {who.oblique}?|"
        f"In welches Zimmer muss ich zu {who.oblique}?|Wo ist das Büro von {who.oblique}?]"
    )
    answer = v.say(f"[In Zimmer {room}.|Zimmer {room}.|{who.name} sitzt in Zimmer {room}.|Geh bitte in Zimmer {room}.]")
    return Turn(question, answer, (fact_room(v, w, who),), str(room))


def ask_duty(v: Voice, w: World) -> Turn:
    duty = v.pick(DUTY)
    who = w.duty_of(duty)
    question = v.say(
        f"[Wer ist für {duty.den} zuständig?|Wer kümmert sich um {duty.den}?|"
        f"Ich habe eine Frage, es geht um {duty.den}. Mit wem spreche ich?]"
    )
    room = w.room(who)
    answer = v.say(
        f"[Mit {who.oblique}.|Mit {who.oblique} in Zimmer {room}.]"
        if "Mit wem" in question
        else f"[{who.name}.|{who.name} in Zimmer {room}.|Das macht {who.name}.|Dafür ist {who.name} zuständig.]"
    )
    return Turn(question, answer, (fact_duty(v, w, duty), fact_room(v, w, who)), who.surname)


def ask_meeting(v: Voice, w: World) -> Turn:
    meeting = v.pick(MEETING)
    day, start, length, who = w.appointment(meeting)
    begin, end, facts = clock(start), clock(start + length), (fact_meeting(v, w, meeting),)
    kind = v.number(0, 3)
    if kind == 0:
        question = v.say(
            f"[Wann ist {meeting.der}?|Wann findet {meeting.der} statt?|"
            f"Um wie viel Uhr ist {meeting.unser} am {day}?|Wann habe ich {meeting.den} mit {who.oblique}?]"
        )
        return Turn(
            question,
            v.say(f"[Am {day} um {begin}.|{meeting.der} ist am {day} um {begin}.|Am {day}, {begin}.]"),
            facts,
            begin,
        )
    if kind == 1:
        question = v.say(
            f"[Wann ist {meeting.der} am {day} zu Ende?|Bis wann dauert {meeting.der}?|"
            f"Wann bin ich nach {meeting.dem} wieder frei?]"
        )
        answer = v.say(
            f"[{meeting.der} beginnt um {begin} und dauert {length} Minuten, also bis {end}.|"
            f"Um {end}, denn {meeting.pronoun} beginnt um {begin} und dauert {length} Minuten.|Um {end}.]"
        )
        return Turn(question, answer.replace("Um", "Bis", 1) if question.startswith("Bis") else answer, facts, end)
    if kind == 2:
        question = f"Wer kommt am {day} um {begin}?"
        return Turn(question, v.say(f"[{who.name}.|{who.name} kommt.|Es kommt {who.name}.]"), facts, who.surname)
    question = v.say(f"[Mit wem ist {meeting.der} am {day}?|Mit wem habe ich am {day} um {begin} einen Termin?]")
    return Turn(
        question,
        v.say(f"[Mit {who.oblique}.|Mit {who.oblique}, um {begin}.|{meeting.der} ist mit {who.oblique}.]"),
        facts,
        who.surname,
    )


def ask_deputy(v: Voice, w: World) -> Turn:
    who = v.pick(w.colleagues)
    other = w.deputy(who)
    question = v.say(
        f"[Wer vertritt {who.oblique}?|{who.name} ist im Urlaub. An wen wende ich mich?|"
        f"{who.name} ist heute krank. Wer übernimmt?|Wer ist die Vertretung von {who.oblique}?]"
    )
    answer = v.say(
        f"[An {other.oblique}.|Wende dich an {other.oblique}.]"
        if "An wen" in question
        else f"[{other.name}.|{other.name} übernimmt das.|Das ist {other.name} in Zimmer {w.room(other)}.]"
    )
    return Turn(
        question, answer, (f"{who.name} wird von {other.oblique} vertreten.", fact_room(v, w, other)), other.surname
    )


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    if v.chance(0.3):
        stands = "stehen" if dish.noun.plural else "steht"
        question = v.say(
            f"[Wann gibt es {dish.name}?|An welchem Tag essen wir {dish.name}?|"
            f"Wann {stands} {dish.name} auf dem Speiseplan?]"
        )
        answer = v.say(f"[Am {day}.|Am {day} gibt es {dish.name}.|{dish.name} gibt es am {day}.]")
        return Turn(question, answer, (fact_dinner(v, w, day),), day)
    question = v.say(
        f"[Was gibt es am {day} zu essen?|Was essen wir am {day}?|Was kochen wir am {day}?|"
        f"Was steht am {day} auf dem Speiseplan?]"
    )
    answer = v.say(
        f"[{dish.name}.|Am {day} gibt es {dish.name}.|Es gibt {dish.name}.|"
        f"{dish.name}, das dauert {w.minutes(dish)} Minuten.]"
    )
    return Turn(question, answer, (fact_dinner(v, w, day), fact_minutes(w, dish)), dish.name)


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.4):
        dinner = 60 * v.number(12, 19) + v.pick((0, 30))
        shall = "sollen" if dish.noun.plural else "soll"
        served, begun = clock(dinner), clock(dinner - minutes)
        question = v.say(
            f"[Wir essen um {served}. Wann muss ich anfangen, wenn es {dish.name} gibt?|"
            f"Um {served} {shall} {dish.noun.der} fertig sein. Wann fange ich an?]"
        )
        answer = v.say(
            f"[Um {begun}, denn es dauert {minutes} Minuten.|Es dauert {minutes} Minuten, also um {begun}.|"
            f"Spätestens um {begun}.]"
        )
    else:
        question = v.say(
            f"[Wie lange dauert es, {dish.name} zu kochen?|Wie viele Minuten brauche ich für {dish.noun.den}?|"
            f"Wie lange brauche ich für {dish.noun.den}?|Wann {dish.noun.be} {dish.noun.der} fertig, wenn ich "
            "jetzt anfange?]"
        )
        answer = v.say(
            f"[In {minutes} Minuten.|Rechne mit {minutes} Minuten.]"
            if question.startswith("Wann")
            else f"[{minutes} Minuten.|Das dauert {minutes} Minuten.|Rechne mit {minutes} Minuten.|"
            f"Etwa {minutes} Minuten.]"
        )
    return Turn(question, answer, (fact_minutes(w, dish),), f"{minutes} Minuten")


def ask_recipe(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    word = {2: "zwei", 4: "vier", 6: "sechs", 8: "acht"}[people]
    question = v.say(
        f"[Was brauche ich für {dish.noun.den} für {word} Personen?|"
        f"Wir sind {word} Personen und kochen {dish.name}. Was brauchen wir?|"
        f"Welche Zutaten brauche ich, wenn ich {dish.name} für {word} Personen koche?]"
    )
    parts = joined([part.times(people) for part in dish.parts])
    answer = v.say(f"[Für {word} Personen: {parts}.|Man braucht {parts}.|Du brauchst {parts}.]")
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_intolerance(v: Voice, w: World) -> Turn:
    person, dish = v.pick(w.family), v.pick(w.dishes)
    culprits = dish.culprits(person.intolerance)
    question = v.say(
        f"[Kann {person.name} {dish.noun.den} essen?|Darf {person.name} {dish.noun.den} essen?|"
        f"Verträgt {person.name} {dish.noun.den}?]"
    )
    if culprits:
        be = "sind" if len(culprits) > 1 or culprits[0] in ("Eier", "Nüsse", "Nudeln") else "ist"
        what = joined(culprits)
        answer = v.say(
            f"[Nein, {person.name} verträgt {person.intolerance}, und hier {be} {what} drin.|"
            f"Nein. Es {be} {what} drin, und {person.name} verträgt {person.intolerance}.|"
            f"Lieber nicht, denn {person.name} verträgt {person.intolerance}.]"
        )
    elif person.intolerance:
        answer = v.say(
            f"[Ja. {person.name} verträgt zwar {person.intolerance}, aber davon ist hier nichts drin.|"
            f"Ja, da ist nichts drin, was {person.name} nicht verträgt.|Ja, das geht.]"
        )
    else:
        answer = v.say(
            f"[Ja, {person.name} verträgt alles.|Ja, natürlich.|Ja, bei {person.name} muss man auf nichts achten.]"
        )
    return Turn(question, answer, (fact_relative(v, person), fact_recipe(w, dish)))


def ask_birthday(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    question = v.say(
        f"[Wann hat {person.name} Geburtstag?|An welchem Tag hat {person.name} Geburtstag?|"
        f"Wann feiern wir den Geburtstag von {person.name}?]"
    )
    if "feiern" in question:
        answer = v.say(f"[Am {person.birthday}.|Den feiern wir am {person.birthday}.]")
    else:
        answer = v.say(
            f"[Am {person.birthday}.|{person.name} hat am {person.birthday} Geburtstag.|Das ist der {person.birthday}.]"
        )
    return Turn(question, answer, (f"{person.name} hat am {person.birthday} Geburtstag.",), person.birthday)


def ask_caretaker(v: Voice, w: World) -> Turn:
    name = w.caretaker.oblique
    trouble = v.pick(
        (
            "Die Heizung ist kalt.",
            "Im Flur ist das Licht kaputt.",
            "Der Aufzug steht.",
            "Aus dem Hahn tropft Wasser.",
            "Die Haustür schließt nicht.",
            "Im Keller steht Wasser.",
        )
    )
    question = trouble + v.say(" [Wen rufe ich an?|Wen muss ich anrufen?|Wem sage ich Bescheid?]")
    answer = v.say(
        f"[{name}, Telefon {w.phone}.|Dem Hausmeister, {name}, unter {w.phone}.]"
        if question.endswith("Bescheid?")
        else f"[{name}, unter {w.phone}.|Den Hausmeister, {name}, Telefon {w.phone}.|Ruf {name} an: {w.phone}.]"
    )
    return Turn(question, answer, (f"Unser Hausmeister heißt {w.caretaker.name}, Telefon {w.phone}.",), w.phone)


def ask_gender(v: Voice, w: World) -> Turn:
    """Which article a noun takes, and in which form."""
    noun = v.pick([noun for noun in (*TOOL, *MEETING, *(item.noun for item in ALL_ITEMS)) if not noun.plural])
    gender = {"der": "männlich", "die": "weiblich", "das": "sächlich"}[noun.article]
    question, answer = v.pick(
        (
            (
                f"[Heißt es der, die oder das {noun.word}?|Welchen Artikel hat {noun.word}?|"
                f"Welches Geschlecht hat {noun.word}?]",
                f"[Es heißt {noun.der}.|{noun.word} ist {gender}: {noun.der}.|Richtig ist: {noun.der}.]",
            ),
            (f"Ergänze: Ich sehe ___ {noun.word}.", f"Ich sehe {noun.den}."),
            (f"Wie heißt {noun.der} im Akkusativ?", f"Im Akkusativ heißt es {noun.den}."),
            (f"Ergänze: mit ___ {noun.word}.", f"Mit {noun.dem}."),
            (f"Wie heißt {noun.der} im Dativ?", f"Im Dativ heißt es {noun.dem}, zum Beispiel: mit {noun.dem}."),
        )
    )
    return Turn(v.say(question), v.say(answer))


#: Questions about what only this house, office and family know.
PRIVATE: tuple[Question[World], ...] = (
    ask_price,
    ask_cheapest,
    ask_hours,
    ask_place,
    ask_waste,
    ask_laundry,
    ask_floor,
    ask_tool,
    ask_room,
    ask_duty,
    ask_meeting,
    ask_deputy,
    ask_dinner,
    ask_minutes,
    ask_birthday,
)
QUESTIONS = (
    *PRIVATE,
    ask_price,
    ask_total,
    ask_total,
    ask_quiet,
    ask_key,
    ask_recipe,
    ask_intolerance,
    ask_intolerance,
    ask_caretaker,
    ask_gender,
    ask_meeting,
)
