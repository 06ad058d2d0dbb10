"""Aushänge, Briefe, Zettel: papers of a German house, office and family."""

from collections.abc import Callable

from baicai.data.generators.german_talk import (
    fact_dinner,
    fact_duty,
    fact_floor,
    fact_hours,
    fact_laundry,
    fact_meeting,
    fact_minutes,
    fact_place,
    fact_price,
    fact_relative,
    fact_room,
    fact_waste,
    joined,
)
from baicai.data.generators.german_world import (
    ALL_ITEMS,
    DAYS,
    DUTY,
    MEETING,
    MONTHS,
    TOOL,
    WASTE,
    WORKDAYS,
    World,
    clock,
    euro,
)
from baicai.data.generators.phrasing import Voice


def house_rules(v: Voice, w: World) -> str:
    noon, end, night, morning = w.quiet
    rules = [
        v.say(
            "[Von {a} bis {b} Uhr ist Mittagsruhe.|Zwischen {a} und {b} Uhr gilt die Mittagsruhe.|"
            "Bitte vermeiden Sie von {a} bis {b} Uhr jeden Lärm.]",
            a=noon,
            b=end,
        ),
        v.say(
            "[Die Nachtruhe beginnt um {a} Uhr und endet um {b} Uhr.|Von {a} bis {b} Uhr ist Nachtruhe.|"
            "Ab {a} Uhr gilt bitte Zimmerlautstärke.]",
            a=night,
            b=morning,
        ),
        v.say(
            "[Fahrräder gehören in den Keller und nicht in den Flur.|"
            "Der Hausflur ist von Fahrrädern und Kinderwagen freizuhalten.|"
            "Bitte stellen Sie keine Fahrräder im Hausflur ab.]"
        ),
        v.say(
            "[Die Haustür ist ab {h} Uhr geschlossen zu halten.|Bitte halten Sie die Haustür ab {h} Uhr geschlossen.]",
            h=night,
        ),
        v.say(
            "[Das Treppenhaus wird jede Woche geputzt, die Stockwerke wechseln sich ab.|"
            "Wer im Plan an der Reihe ist, putzt das Treppenhaus.]"
        ),
        v.say("[Grillen auf dem Balkon ist nicht erlaubt.|Auf den Balkonen darf nicht gegrillt werden.]"),
        v.say(
            "[Wer die Waschküche benutzt, hinterlässt sie sauber.|"
            "Die Waschküche ist nach dem Waschen zu reinigen.|"
            "Bitte leeren Sie nach dem Waschen das Flusensieb.]"
        ),
        v.say(
            "[Bei Schäden rufen Sie bitte {o} an, Telefon {p}.|"
            "Schäden melden Sie bitte sofort dem Hausmeister, {o}, Telefon {p}.]",
            o=w.caretaker.oblique,
            p=w.phone,
        ),
        fact_waste(v, w, v.pick(tuple(WASTE))),
        v.say(
            "[Im Winter ist auch nachts auf geschlossene Kellerfenster zu achten.|"
            "Bitte schließen Sie im Winter die Kellerfenster.]"
        ),
        v.say("[Haustiere sind nach Absprache erlaubt.|Hunde sind im Hof an der Leine zu führen.]"),
    ]
    chosen = v.sample(rules, v.number(4, 8))
    head = v.say("[Hausordnung|Hausordnung für das Haus {a}|Regeln für unser Haus {a}]", a=w.address)
    return (
        head
        + "\n\n"
        + "\n".join(f"{index}. {rule}" for index, rule in enumerate(chosen, 1))
        + v.say("\n\n[Die Hausverwaltung|Ihr Hausmeister {n}|Vielen Dank für Ihre Rücksicht.]", n=w.caretaker.name)
    )


def notice(v: Voice, w: World) -> str:
    day, date = v.pick(WORKDAYS), f"{v.number(1, 28)}. {v.pick(MONTHS)}"
    start = v.number(8, 13)
    end = start + v.number(1, 4)
    what = v.pick(
        (
            ("wird", "das Wasser abgestellt", "Bitte füllen Sie vorher einen Eimer."),
            ("wird", "der Strom abgeschaltet", "Bitte schalten Sie vorher alle Geräte aus."),
            ("wird", "der Aufzug gewartet", "Bitte benutzen Sie so lange die Treppe."),
            ("werden", "die Heizungen abgelesen", "Bitte sorgen Sie dafür, dass jemand zu Hause ist."),
            ("kommt", "der Schornsteinfeger", "Bitte öffnen Sie ihm die Tür."),
            ("werden", "die Fenster im Treppenhaus geputzt", "Bitte stellen Sie nichts auf die Fensterbänke."),
            ("werden", "die Rauchmelder geprüft", "Die Prüfung dauert in jeder Wohnung nur wenige Minuten."),
            ("wird", "der Hof neu gepflastert", "Bitte parken Sie an diesem Tag auf der Straße."),
            ("werden", "neue Mülltonnen geliefert", "Die alten Tonnen bleiben noch eine Woche stehen."),
            ("wird", "das Dach repariert", "Es kann dabei laut werden."),
        )
    )
    return v.say(
        "[Aushang|An alle Mieterinnen und Mieter|Wichtige Mitteilung|Bitte beachten]\n\n[Liebe Nachbarn|"
        "Sehr geehrte Damen und Herren|Liebe Mieterinnen und Mieter]"
        ",\n\nam {d}, dem {t}, {w} [von {a} bis {b} Uhr|zwischen {a} und {b} Uhr] {y}. {x} "
        "[Bei Fragen hilft Ihnen {n} weiter, Telefon {p}.|Rufen Sie bei Fragen bitte {o} an: {p}.|"
        "Wir danken für Ihr Verständnis.]\n\n[Mit freundlichen Grüßen|Freundliche Grüße]"
        "\n[Die Hausverwaltung|{n}, Hausmeister]",
        d=day,
        t=date,
        w=what[0],
        y=what[1],
        x=what[2],
        a=start,
        b=end,
        n=w.caretaker.name,
        o=w.caretaker.oblique,
        p=w.phone,
    ).replace(",\n\nAm", ",\n\nam")


def complaint(v: Voice, w: World) -> str:
    """A letter to the house management about something broken."""
    defect = v.pick(
        (
            ("die Heizung im Schlafzimmer wird nicht warm", "Heizung"),
            ("der Wasserhahn in der Küche tropft", "Wasserhahn"),
            ("das Fenster im Kinderzimmer lässt sich nicht mehr schließen", "Fenster"),
            ("im Bad hat sich ein feuchter Fleck gebildet", "Feuchtigkeit im Bad"),
            ("die Klingel an der Haustür ist defekt", "Klingel"),
            ("das Licht im Keller brennt nicht mehr", "Licht im Keller"),
            ("der Rollladen im Wohnzimmer klemmt", "Rollladen"),
            ("der Briefkasten ist aufgebrochen worden", "Briefkasten"),
            ("der Herd hat nur noch zwei warme Platten", "Herd"),
        )
    )
    who = v.pick(w.neighbours)
    days = v.pick(DAYS)
    return (
        v.say(
            "[Betreff|Betrifft]: {b}\n\n[Sehr geehrte Damen und Herren|{g}]"
            ",\n\nseit {d} [haben wir ein Problem: {x}.|gibt es in unserer Wohnung einen Mangel: {x}.|"
            "stimmt etwas nicht: {x}.] "
            "[Wir haben selbst nachgesehen, konnten den Fehler aber nicht finden.|"
            "Der Zustand wird von Tag zu Tag schlechter.|Auch den Nachbarn ist es schon aufgefallen.|] "
            "[Bitte schicken Sie uns bald einen Handwerker.|Wir bitten Sie, den Schaden bis nächsten {e} zu "
            "beheben.|Könnten Sie uns bitte einen Termin nennen?] "
            "[Am {e} sind wir ab {h} Uhr zu Hause.|Sie erreichen uns am besten abends.|Wir wohnen {f}.]"
            "\n\nMit freundlichen Grüßen\n{n}",
            b=defect[1],
            x=defect[0][0].upper() + defect[0][1:],
            d=days,
            e=v.pick([day for day in WORKDAYS if day != days]),
            h=v.number(14, 18),
            f=w.floor(who),
            n=f"{who.first} {who.surname}",
            g=w.caretaker.greeting,
        )
        .replace(",\n\nSeit", ",\n\nseit")
        .replace("  ", " ")
    )


def office_mail(v: Voice, w: World) -> str:
    meeting = v.pick(MEETING)
    day, start, length, who = w.appointment(meeting)
    sender = v.pick([c for c in w.colleagues if c is not who])
    new_day, new_start = v.pick([d for d in WORKDAYS if d != day]), start + v.pick((-60, 60, 30))
    kind = v.number(0, 2 if w.deputy(sender) is not who else 1)
    values = {
        "g": who.greeting,
        "m": meeting.form("def", "nom"),
        "ma": meeting.form("def", "akk"),
        "u": meeting.form("unser", "akk"),
        "un": meeting.form("unser", "nom"),
        "d": day,
        "t": clock(start),
        "l": length,
        "nd": new_day,
        "nt": clock(new_start),
        "r": w.room(sender),
        "n": f"{sender.first} {sender.surname}",
        "p": w.deputy(sender).oblique,
        "pa": meeting.pronoun_akk,
        "w": meeting.word,
    }
    if kind == 0:
        body = (
            "[leider muss ich {u} am {d} um {t} absagen.|leider kann ich am {d} um {t} nicht kommen.]"
            " [Passt es Ihnen stattdessen am {nd} um {nt}?|Wäre der {nd} um {nt} für Sie möglich?|"
            "Können wir {pa} auf {nd}, {nt}, verschieben?] "
            "[Bitte geben Sie mir kurz Bescheid.|Ich freue mich auf Ihre Antwort.|"
            "Entschuldigen Sie bitte die Umstände.]"
        )
        subject = "[Absage|Verschiebung|Neuer Termin]: {w}"
    elif kind == 1:
        body = (
            "hiermit bestätige ich {ma} am {d} um {t}. [Wir treffen uns in Zimmer {r}.|"
            "Bitte kommen Sie in Zimmer {r}.|Ich erwarte Sie in Zimmer {r}.] [Wir brauchen etwa {l} Minuten.|"
            "Bitte planen Sie {l} Minuten ein.] "
            "[Bringen Sie bitte Ihre Unterlagen mit.|Kaffee und Wasser stehen bereit.|"
            "Sollte etwas dazwischenkommen, rufen Sie mich bitte an.]"
        )
        subject = "[Bestätigung|Termin|Einladung]: {w} am {d}"
    else:
        body = (
            "[ab {nd} bin ich für eine Woche im Urlaub.|von {nd} an bin ich nicht im Büro.]"
            " [In dieser Zeit vertritt mich {v}.|Bitte wenden Sie sich so lange an {p}.]"
            " [{un} am {d} findet trotzdem statt.|{un} bleibt am {d} um {t}.] "
            "[Ich wünsche Ihnen eine gute Woche.|Vielen Dank für die Zusammenarbeit.]"
        )
        subject = "[Urlaub|Vertretung|Meine Abwesenheit]"
    text = v.say(
        f"Betreff: {subject}\n\n{{g}},\n\n{body}\n\n[Mit freundlichen Grüßen|Freundliche Grüße|Viele Grüße]\n{{n}}",
        v=w.deputy(sender).name,
        **values,
    )
    head, rest = text.split(",\n\n", 1)
    return f"{head},\n\n{rest[0].lower()}{rest[1:]}"


def sick_note(v: Voice, w: World) -> str:
    child, parent = w.names[v.number(2, 3)], w.names[v.number(0, 1)]
    teacher = v.pick(w.colleagues)
    text = v.say(
        "{g},\n\n{k} [kann heute leider nicht in die Schule kommen|ist krank und bleibt heute zu Hause|"
        "hat Fieber und muss im Bett bleiben]. [Der Arzt rechnet mit {n} Tagen Ruhe.|"
        "Voraussichtlich kommt {k} am {d} wieder.|Wir melden uns, sobald es besser geht.] "
        "[Können Sie uns bitte die Hausaufgaben schicken?|{f} holt die Hausaufgaben ab.|"
        "Bitte geben Sie die Hausaufgaben {f} mit.]\n\n[Mit freundlichen Grüßen|Freundliche Grüße]\n{p} {s}",
        g=teacher.greeting,
        k=child,
        n=v.number(2, 5),
        d=v.pick(WORKDAYS),
        f=w.names[2] if child == w.names[3] else w.names[3],
        p=parent,
        s=w.surname,
    )
    return text


def shopping(v: Voice, w: World) -> str:
    shop, total = v.pick(w.shops), 0
    rows = [v.say("[Einkaufszettel|Bei {s} kaufen|Für {d}|Bitte mitbringen]:", s=shop, d=v.pick(DAYS))]
    for item in v.sample(ALL_ITEMS, v.number(3, 7)):
        count = v.pick((1, 1, 2, 3))
        total += count * w.price(item, shop)
        rows.append(
            f"- {item.packs(count).removeprefix('einen ').removeprefix('eine ').removeprefix('ein ') if count > 1 else '1 ' + item.pack.word + ' ' + item.name}"
            + v.say("[||| ({c})| (steht dann {p})]", c=euro(count * w.price(item, shop)), p=w.place(item))
        )
    rows.append(
        v.say(
            "[|Zusammen bei {s}: {t}|Das macht bei {s} {t}.|Nimm {n} Euro mit.]",
            s=shop,
            t=euro(total),
            n=-(-total // 1000) * 10,
        )
    )
    return "\n".join(rows).rstrip()


def receipt(v: Voice, w: World) -> str:
    shop, total, rows = v.pick(w.shops), 0, []
    for item in v.sample(ALL_ITEMS, v.number(3, 7)):
        count, price = v.pick((1, 1, 1, 2, 3)), w.price(item, shop)
        total += count * price
        left = f"{count} {item.pack.word if count == 1 else item.pack_plural} {item.name}" + (
            f" (je {price // 100},{price % 100:02d})" if count > 1 else ""
        )
        rows.append(f"{left:<40}{count * price // 100:>4},{count * price % 100:02d}")
    paid = next(note for note in (1000, 2000, 5000, 10000, 20000) if note >= total)
    rows += [f"{'Summe':<40}{total // 100:>4},{total % 100:02d}"]
    rows += (
        [f"{'Bar':<40}{paid // 100:>4},00", f"{'Rückgeld':<40}{(paid - total) // 100:>4},{(paid - total) % 100:02d}"]
        if v.chance(0.6)
        else [f"{'Karte':<40}{total // 100:>4},{total % 100:02d}"]
    )
    return (
        f"{shop}\n{v.pick(WORKDAYS)}, {v.number(9, 16)}:{v.number(10, 59)} Uhr\n\n"
        + "\n".join(rows)
        + v.say(
            "\n\n[Vielen Dank für Ihren Einkauf!|Es bediente Sie {n}.|Bitte bewahren Sie diesen Beleg auf.|Bis bald!]",
            n=v.pick(("Frau Lind", "Herr Kern", "Frau Aksoy")),
        )
    )


def menu(v: Voice, w: World) -> str:
    rows = [
        v.say("[Speiseplan|Speiseplan der Woche|Was es bei Familie {s} gibt|Unser Essen in dieser Woche]", s=w.surname)
    ]
    style = v.number(0, 2)
    rows += [
        f"{d}: {w.dinner(d).name}"
        if style == 0
        else f"{d}: {w.dinner(d).name} ({w.minutes(w.dinner(d))} Minuten)"
        if style == 1
        else fact_dinner(v, w, d)
        for d in DAYS
    ]
    return "\n".join(rows)


def recipe(v: Voice, w: World) -> str:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    first = dish.parts[0].item.noun
    rest = joined([part.item.noun.form("def", "nom") for part in dish.parts[1:]])
    rows = [
        v.say("[{x}|{x} nach Art der Familie {s}|So kochen wir {x}]", x=dish.name, s=w.surname),
        f"Für {people} Personen, {w.minutes(dish)} Minuten",
        "",
        *(f"- {part.times(people)}" for part in dish.parts),
        "",
    ]
    steps = [
        v.say(
            "[Zuerst {a} bereitlegen.|{a} abwiegen und bereitstellen.|Als Erstes komm{t} {n} an die Reihe.]",
            t="en" if first.plural else "t",
            a=first.form("def", "akk"),
            n=first.form("def", "nom"),
        ),
        v.say(
            "[Danach|Dann|Nun] folg{t} {r}.",
            t="en" if len(dish.parts) > 2 or dish.parts[1].item.noun.plural else "t",
            r=rest,
        ),
        v.say(
            "[Alles zusammen bei mittlerer Hitze garen.|Nicht zu heiß werden lassen und ab und zu rühren.|Mit Geduld und nicht zu viel Hitze kochen.]"
            if "kuchen" not in dish.name
            else "[Alles verrühren, in die Form füllen und backen.|Den Teig in die Form geben und goldbraun backen.]"
        ),
        v.say(
            "[Mit Salz abschmecken.|Zum Schluss abschmecken und servieren.|Heiß servieren.]"
            if "kuchen" not in dish.name
            else "[Abkühlen lassen.|Vor dem Anschneiden abkühlen lassen.]"
        ),
    ]
    rows += [f"{index}. {step}" for index, step in enumerate(steps, 1)]
    hit = [p for p in w.family if dish.culprits(p.intolerance)]
    rows += [f"Achtung: {p.name} verträgt {p.intolerance}." for p in hit]
    return "\n".join(rows)


def to_neighbour(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.neighbours, 2)
    tool, item, day = v.pick(TOOL), v.pick(ALL_ITEMS), v.pick(DAYS)
    text = v.say(
        "[Liebe{er}|Hallo] {r},\n\n"
        "[könnten Sie mir am {d} {e} leihen?|darf ich mir am {d} {e} bei Ihnen ausleihen?|ich habe {ea} vor Ihre Tür gestellt, vielen Dank fürs Leihen!|bei mir liegt ein Paket für Sie. Sie können es ab {h} Uhr abholen."
        "|am {d} feiern wir Geburtstag, und es kann etwas lauter werden. Wenn es Sie stört, klingeln Sie bitte.|wir sind von {d} an für eine Woche verreist. Könnten Sie bitte unsere Blumen gießen?"
        "|mir {be} {nom} ausgegangen. Hätten Sie vielleicht noch {etwas} für mich?] [Ich wohne {f}.|Sie finden mich {f}.|Klingeln Sie einfach {f}.|] [Herzlichen Dank|Vielen Dank und viele Grüße|Viele Grüße]\n{n}",
        er="r" if reader.title == "Herr" else "",
        r=reader.name,
        d=day,
        e=tool.form("ein", "akk"),
        ea=tool.form("def", "akk"),
        h=v.number(15, 18),
        f=w.floor(writer),
        n=f"{writer.first} {writer.surname}",
        nom=item.noun.form("def", "nom"),
        be=item.noun.be,
        etwas="welche" if item.noun.plural else "etwas",
    )
    head, rest = text.split(",\n\n", 1)
    rest = (
        rest.replace(" Herzlichen", "\n\nHerzlichen")
        .replace(" Viele Grüße", "\n\nViele Grüße")
        .replace(" Vielen Dank und", "\n\nVielen Dank und")
        .replace("  ", " ")
    )
    rest = rest.replace(" \n", "\n")
    return f"{head},\n\n{rest[0].lower()}{rest[1:]}"


def invitation(v: Voice, w: World) -> str:
    who, day = v.pick(w.family), v.pick(("Freitag", "Samstag", "Sonntag"))
    dish = v.pick(w.dishes)
    text = v.say(
        "[Einladung|Wir feiern!|Herzliche Einladung]\n\n{n} [hat am {b} Geburtstag|wird am {b} ein Jahr älter]. [Deshalb laden wir euch am {d} um {h} Uhr zu uns ein.|Wir feiern am {d} ab {h} Uhr bei uns zu Hause.|Kommt doch am {d} um {h} Uhr zu uns!] "
        "[Es gibt {x}.|Wir kochen {x} für alle.|Zu essen gibt es {x}.] [Bitte sagt bis {z} Bescheid, ob ihr kommt.|Bringt gute Laune mit.|Geschenke sind nicht nötig.]\n\n[Eure Familie {s}|Es freuen sich {m} und {p}]",
        n=who.name,
        b=who.birthday,
        d=day,
        h=v.number(14, 19),
        x=dish.name,
        z=v.pick(WORKDAYS[:4]),
        s=w.surname,
        m=w.names[0],
        p=w.names[1],
    )
    return text


def plan(v: Voice, w: World) -> str:
    kind = v.number(0, 2)
    if kind == 0:
        rows = [v.say("[Waschplan|Plan für die Waschküche|Wer wann wäscht]")] + [
            fact_laundry(v, w, who) if v.chance(0.3) else f"{w.laundry_day(who)}: {who.name} ({w.floor(who)})"
            for who in v.sample(w.neighbours, 5)
        ]
    elif kind == 1:
        rows = [v.say("[Müllkalender|Abfuhr der Tonnen|Wann was abgeholt wird]")] + [
            fact_waste(v, w, waste) for waste in v.sample(tuple(WASTE), v.number(3, 5))
        ]
    else:
        rows = (
            [v.say("[Wer wo sitzt und was macht|Zuständigkeiten im Büro|Unser Büro]")]
            + [fact_room(v, w, who) for who in w.colleagues]
            + [fact_duty(v, w, duty) for duty in v.sample(DUTY, v.number(2, 5))]
        )
    return "\n".join(rows)


def minutes(v: Voice, w: World) -> str:
    meeting = v.pick(MEETING[:2])
    day, start, length, _ = w.appointment(meeting)
    points = [
        fact_duty(v, w, v.pick(DUTY)),
        fact_meeting(v, w, v.pick(MEETING)),
        fact_room(v, w, v.pick(w.colleagues)),
        v.say(
            "[Der Drucker im Flur wird ausgetauscht.|Für den Drucker wird neues Papier bestellt.|Der neue Drucker kommt am {d}.]",
            d=v.pick(WORKDAYS),
        ),
        v.say(
            "{n} [ist vom {a}. {m} an [eine Woche|zwei Wochen|drei Wochen] im Urlaub|hat vom {a}. {m} an Urlaub].",
            n=v.pick(w.colleagues).name,
            a=v.number(1, 28),
            m=v.pick(MONTHS),
        ),
        v.say(
            "[Die Küche wird ab sofort reihum aufgeräumt.|Am {d} räumt {n} die Küche auf.]",
            d=v.pick(WORKDAYS),
            n=v.pick(w.colleagues).name,
        ),
        v.say(
            "[Das Lager ist voll und muss sortiert werden.|Im Lager fehlen Kartons.|Die Schlüssel für das Lager liegen bei {o}.]",
            o=v.pick(w.colleagues).oblique,
        ),
        v.say(
            "[Der nächste Termin ist am {d} um {t}.|Das nächste Treffen findet am {d} um {t} statt.]",
            d=day,
            t=clock(start),
        ),
    ]
    rows = [
        v.say(
            "[Protokoll|Kurzprotokoll|Ergebnisse]: {m} vom {t}",
            m=meeting.word,
            t=f"{v.number(1, 28)}. {v.pick(MONTHS)}",
        ),
        f"Beginn: {clock(start)}, Ende: {clock(start + length)}",
        f"Anwesend: {joined([c.name for c in w.colleagues])}",
        "",
    ]
    return "\n".join(rows + [f"{index}. {point}" for index, point in enumerate(v.sample(points, v.number(3, 6)), 1)])


def note(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.names, 2)
    day, item, shop = v.pick(DAYS), v.pick(ALL_ITEMS), v.pick(w.shops)
    dish = w.dinner(day)
    middle = [
        fact_dinner(v, w, day),
        fact_minutes(w, dish),
        fact_place(v, w, item),
        fact_waste(v, w, v.pick(tuple(WASTE))),
        fact_hours(v, w, shop, day),
        fact_relative(v, v.pick(w.family)),
        v.say(
            "[Bring bitte {p} von {s} mit.|Kannst du bei {s} {p} holen?|Kauf bitte noch {p} bei {s}.]",
            p=item.packs(),
            s=shop,
        ),
        fact_price(v, w, item, shop),
        v.say(
            "[Unser Ersatzschlüssel liegt bei {o}.|Wenn du nicht ins Haus kommst: {n} hat den Schlüssel.]",
            o=w.key_holder.oblique,
            n=w.key_holder.name,
        ),
        fact_laundry(v, w, v.pick(w.neighbours)),
    ]
    return (
        f"{v.pick(('Hallo', 'Hi', 'Guten Morgen,'))} {reader}!\n"
        + " ".join(v.sample(middle, v.number(2, 5)))
        + v.say("\n[Bis später|Bis heute Abend|Kuss|Danke] {n}", n=writer).replace(" " + writer, "\n" + writer)
    )


def diary(v: Voice, w: World) -> str:
    day, shop, who = v.pick(DAYS[:6]), v.pick(w.shops), v.pick(w.neighbours)
    items = v.sample(ALL_ITEMS, v.number(2, 3))
    hours, dish = w.hours(shop, day), w.dinner(day)
    rows = [
        v.say(
            "{d}. [Es hat den ganzen Morgen geregnet.|Die Sonne schien.|Es war kalt und windig.|Ich bin früh aufgewacht.|Im Treppenhaus roch es nach Kaffee.]",
            d=day,
        )
    ]
    if hours:
        rows.append(
            v.say(
                "[Ich war bei {s} und habe {all} gekauft|Bei {s} habe ich {all} gekauft|Gleich nach {a} Uhr war ich bei {s} und holte {all}][, zusammen für {t}|. Das machte {t}|].",
                s=shop,
                a=hours[0],
                all=joined([item.packs() for item in items]),
                t=euro(sum(w.price(item, shop) for item in items)),
            )
        )
    else:
        rows.append(v.say("Ich wollte zu {s}, aber am {d} ist dort geschlossen.", s=shop, d=day))
    rows.append(
        v.say(
            "[Auf der Treppe traf ich {o}, {p} wohnt {f}.|{n} hat mich gegrüßt.|Am Nachmittag hat {n} geklingelt und {e} zurückgebracht.|Ich habe {o} {e} geliehen.|]",
            o=who.oblique,
            n=who.name,
            p="der" if who.title == "Herr" else "die",
            f=w.floor(who),
            e=v.pick(TOOL).form("unser", "akk"),
        )
    )
    rows.append(
        v.say(
            "[Am Abend gab es {x}.|Abends haben wir {x} gegessen.|Zum Abendessen gab es {x}, das hat {m} Minuten gedauert.]",
            x=dish.name,
            m=w.minutes(dish),
        )
    )
    hit = [p for p in w.family if dish.culprits(p.intolerance)]
    if hit:
        rows.append(
            v.say("{n} hat etwas anderes gegessen, weil {n} {i} verträgt.", n=hit[0].name, i=hit[0].intolerance)
        )
    rows.append(
        fact_floor(v, w, who)
        if v.chance(0.1)
        else v.say("[Morgen wird ein langer Tag.|Dann war Ruhe im Haus.|Jetzt bin ich müde.|Ein guter Tag.|]")
    )
    return " ".join(row for row in rows if row)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    house_rules,
    notice,
    notice,
    complaint,
    office_mail,
    office_mail,
    sick_note,
    shopping,
    receipt,
    menu,
    recipe,
    to_neighbour,
    to_neighbour,
    invitation,
    plan,
    plan,
    minutes,
    note,
    note,
    diary,
    diary,
)
