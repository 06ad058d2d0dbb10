"""A household world: its members, meals, shops and prices."""

from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from baicai.synthesis.phrasing import Facts, options

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = options("January|February|March|April|May|June|July|August|September|October|November|December")
SURNAMES = options("""
Baker|Osei|Lindqvist|Moreau|Tanaka|Fischer|Novak|Hughes|Okafor|Silva|Duarte|Petrov|Kaya|Rossi|Brandt|Walsh
Ionescu|Haddad|Nguyen|Mercer|Whitfield|Larsen|Castellano|Abara|Sorensen|Kowalski|Dempsey|Farrow|Ellison
Marsh
""")
ADULTS = options("""
Clara|Henrik|Amara|Joao|Mina|Peter|Leila|Marek|Sofia|Daniel|Ines|Tobias|Ruth|Kenji|Paula|Owen|Nadia|Felix
Greta|Samuel|Hanna|Victor|Irene|Malik|Edith|Bruno|Astrid|Joseph|Yara|Colin
""")
CHILDREN = options("""
Tom|Lily|Noah|Ella|Max|Zoe|Ben|Ida|Leo|Mia|Finn|Nora|Sam|Ava|Theo|Rosa|Jack|Lena|Oscar|Maya|Emil|Alma|Hugo
Vera|Luca|Anna|Kofi|Suki|Milo|Freya
""")
SHOPS = options("""
Miller's|the Corner Market|Harbour Foods|Green Basket|Rosa's Grocery|Hill Street Stores|the Farm Shop
Old Mill Provisions|Daily Fresh|Bell & Sons|the Station Shop|Orchard Foods|Sunrise Foods|Park Road Market
Lantern Grocers|the Yellow Door|Weaver's|Bridge Street Deli|North Gate Foods|Pepper & Vine|Tilly's
the Larder
""")
STREETS = options("""
Mill Lane|Church Street|Station Road|Harbour Street|King's Road|Orchard Lane|Bridge Street|Market Square
Park Avenue|Well Street|Hill Street|Canal Walk|Garden Row|School Lane|Chapel Hill|Ferry Road
""")
BRANDS = options("""
Alder|Bluebell|Fairfield|Golden Spoon|Hearth|Juniper|Kestrel|Linden|Meadow Gate|Northwind|Oakley|Primrose
Redcap|Silver Birch|Tern|Upland|Valley Star|Wren & Co|Copper Kettle|Three Bees
""")
ALLERGENS = options("nuts|milk|eggs|wheat|fish|shellfish|celery|soy|sesame|mustard")
PLACES = {
    "cool": options("""
in the vegetable drawer|in the wooden crate in the cellar|on the bottom shelf of the fridge
in the basket under the stairs|in the box on the balcony|in the big pot by the back door
"""),
    "fridge": options("""
on the top shelf of the fridge|in the fridge door|on the middle shelf of the fridge
in the left drawer of the fridge|at the back of the fridge|in the small fridge in the garage
"""),
    "dry": options("""
in the cupboard above the kettle|in the tall cupboard by the window|in the drawer under the oven
on the second shelf of the pantry|in the blue tin by the stove|on the top shelf of the pantry
in the jar next to the toaster|in the basket on the counter|behind the cookbooks
in the cupboard over the sink|on the floor of the pantry
"""),
    "cold": options("""
in the top drawer of the freezer|in the bottom drawer of the freezer|in the chest freezer in the cellar
in the freezer, under the ice packs|in the freezer door
"""),
}
# name | how it is sold | usual price in cents | allergens | kind of place
ITEMS = """cabbage|head|190||cool
carrots|kilo|150||cool
potatoes|bag|280||cool
onions|net|170||cool
leeks|bunch|240||cool
celery|bunch|180|celery|cool
mushrooms|box|230||fridge
spinach|bag|210||fridge
tomatoes|kilo|320||cool
peppers|bag|290||fridge
cauliflower|head|260||cool
beetroot|bunch|200||cool
garlic|bulb|60||dry
lemons|net|220||cool
apples|kilo|270||cool
bananas|bunch|180||dry
milk|litre|125|milk|fridge
butter|block|260|milk|fridge
cream|tub|170|milk|fridge
yogurt|tub|150|milk|fridge
cheese|piece|480|milk|fridge
eggs|box|310|eggs|fridge
bread|loaf|330|wheat|dry
flour|bag|140|wheat|dry
pasta|packet|160|wheat|dry
noodles|packet|190|wheat eggs|dry
rice|bag|290||dry
couscous|packet|210|wheat|dry
lentils|packet|230||dry
chickpeas|tin|95||dry
beans|tin|90||dry
coconut milk|tin|185||dry
sugar|bag|135||dry
oats|packet|170||dry
honey|jar|520||dry
coffee|packet|640||dry
tea|box|350||dry
soy sauce|bottle|270|soy wheat|dry
mustard|jar|165|mustard|fridge
tahini|jar|430|sesame|dry
olive oil|bottle|790||dry
vinegar|bottle|220||dry
walnuts|bag|410|nuts|dry
almonds|bag|450|nuts|dry
raisins|packet|240||dry
salmon|pack|720|fish|cold
tuna|tin|175|fish|dry
prawns|bag|680|shellfish|cold
peas|bag|220||cold
chicken legs|tray|560||fridge
minced beef|tray|540||fridge
tofu|block|250|soy|fridge"""
# name | minutes | ingredients for four
DISHES = """cabbage soup|50|cabbage 1 head, potatoes 400 g, carrots 300 g, onions 2
potato and leek soup|40|potatoes 800 g, leeks 2, carrots 200 g, cream 200 ml
lentil stew|45|lentils 300 g, carrots 300 g, celery 200 g, onions 2
chickpea curry|35|chickpeas 2 tin, spinach 300 g, coconut milk 1 tin, rice 300 g
tomato pasta|25|pasta 400 g, tomatoes 600 g, garlic 20 g, cheese 100 g
pancakes|30|flour 300 g, milk 500 ml, eggs 4, butter 40 g
fried rice|20|rice 300 g, eggs 4, peas 200 g, soy sauce 40 ml
mushroom omelette|15|eggs 8, mushrooms 300 g, butter 30 g, cheese 80 g
roast chicken legs|60|chicken legs 1 kg, potatoes 1 kg, lemons 2, garlic 30 g
fish pie|65|salmon 400 g, potatoes 800 g, milk 300 ml, butter 50 g, peas 200 g
salmon with spinach|35|salmon 600 g, spinach 400 g, lemons 2, rice 300 g
stuffed peppers|55|peppers 4, rice 200 g, tomatoes 400 g, cheese 120 g
mushroom risotto|40|rice 320 g, mushrooms 400 g, onions 2, butter 40 g, cheese 80 g
bean chilli|45|beans 2 tin, tomatoes 500 g, peppers 2, onions 2
cauliflower cheese|45|cauliflower 1 head, milk 400 ml, cheese 160 g, flour 40 g, butter 40 g
vegetable noodles|20|noodles 320 g, carrots 200 g, cabbage 300 g, soy sauce 60 ml
apple crumble|50|apples 800 g, flour 200 g, butter 120 g, sugar 100 g
carrot cake|70|carrots 300 g, flour 240 g, eggs 4, walnuts 100 g, sugar 160 g
prawn noodles|20|prawns 400 g, noodles 320 g, garlic 20 g, soy sauce 40 ml
tofu with peppers|25|tofu 400 g, peppers 2, rice 300 g, soy sauce 60 ml
beetroot salad|20|beetroot 600 g, walnuts 80 g, apples 200 g, mustard 20 g
couscous salad|20|couscous 280 g, tomatoes 300 g, lemons 2, raisins 60 g
leek quiche|70|leeks 4, eggs 4, cream 200 ml, flour 200 g, butter 100 g
meatballs in tomato sauce|50|minced beef 600 g, tomatoes 600 g, onions 2, bread 100 g
tuna pasta|20|pasta 400 g, tuna 2 tin, peas 200 g, lemons 2
baked potatoes|75|potatoes 1 kg, cheese 160 g, beans 1 tin, butter 40 g
hummus with vegetables|15|chickpeas 2 tin, tahini 80 g, lemons 2, carrots 300 g
rice pudding|40|rice 160 g, milk 800 ml, sugar 60 g, raisins 80 g
celery and apple salad|15|celery 300 g, apples 400 g, yogurt 160 g, walnuts 60 g
almond porridge|10|oats 200 g, milk 800 ml, almonds 60 g, honey 40 g"""
# Swaps that hold in any kitchen.
SUBSTITUTES = {
    "milk": "oat drink",
    "butter": "olive oil",
    "cream": "coconut milk",
    "yogurt": "oat yogurt",
    "cheese": "nutritional yeast flakes",
    "eggs": "a spoonful of ground flaxseed stirred into water for each egg",
    "flour": "rice flour",
    "pasta": "rice noodles",
    "couscous": "rice",
    "noodles": "rice noodles",
    "walnuts": "toasted sunflower seeds",
    "almonds": "pumpkin seeds",
    "soy sauce": "salt and a squeeze of lemon",
    "salmon": "beans",
    "tuna": "chickpeas",
    "bread": "cooked rice",
    "tahini": "sunflower seed butter",
    "prawns": "mushrooms",
    "lemons": "a splash of vinegar",
    "onions": "leeks",
    "leeks": "onions",
    "spinach": "chopped cabbage",
    "celery": "carrots",
    "rice": "couscous",
    "honey": "sugar",
    "sugar": "honey",
    "mustard": "a little vinegar and pepper",
    "tofu": "chickpeas",
    "minced beef": "lentils",
}
TREATS = options("""
carrots|mushrooms|spinach|tomatoes|peppers|beetroot|apples|bananas|yogurt|cheese|eggs|bread|noodles|lentils
beans|honey|walnuts|almonds|raisins|salmon|tuna|prawns|peas|tofu|oats|celery|leeks|cauliflower|cabbage
couscous
""")
SECRETS = options("""
a pinch of nutmeg|a spoonful of vinegar|a bay leaf|some caraway|a little chilli|fresh parsley
a knob of ginger|lemon peel|smoked paprika|a handful of chives|black pepper|a sprig of thyme
""")
SWEET_SECRETS = options("""
a pinch of salt|a stick of cinnamon|lemon peel|a drop of vanilla|two crushed cardamom pods|a little ginger
""")
_PLURALS = {"loaf": "loaves", "bunch": "bunches", "box": "boxes", "kilo": "kilos"}
_SINGULARS = {"peppers": "pepper", "leeks": "leek", "onions": "onion", "eggs": "egg", "lemons": "lemon"}


class Item(NamedTuple):
    """An item on the shopping list; one pack of it reads "a head of cabbage"."""

    name: str
    unit: str
    base_cents: int
    allergens: tuple[str, ...]
    kind: str

    @property
    def be(self) -> str:
        return "are" if self.plural else "is"

    @property
    def plural(self) -> bool:
        return self.name.endswith("s") and self.name not in ("couscous",)

    def packs(self, count: int = 1) -> str:
        if count == 1:
            return f"a {self.unit} of {self.name}"
        return f"{count} {_PLURALS.get(self.unit, self.unit + 's')} of {self.name}"


class Amount(NamedTuple):
    """Amount of an item in a dish."""

    item: Item
    quantity: Fraction
    unit: str

    def scaled(self, factor: Fraction) -> "Amount":
        return Amount(self.item, self.quantity * factor, self.unit)

    def __str__(self) -> str:
        quantity, unit = self.quantity, self.unit
        if unit == "kg" and quantity < 1:
            quantity, unit = quantity * 1000, "g"
        number = mixed(quantity)
        if not unit:
            return f"{number} {self.item.name if quantity > 1 else _SINGULARS[self.item.name]}"
        if unit in ("tin", "head") and quantity > 1:
            unit += "s"
        return f"{number} {unit} of {self.item.name}"


class Dish(NamedTuple):
    """A dish as this household cooks it, for four."""

    name: str
    base_minutes: int
    amounts: tuple[Amount, ...]

    @property
    def be(self) -> str:
        return "are" if self.plural else "is"

    @property
    def s(self) -> str:
        """Ending of a verb whose subject is the dish."""
        return "" if self.plural else "s"

    @property
    def plural(self) -> bool:
        head = self.name.partition(" with ")[0].partition(" in ")[0]
        return head.endswith("s") and head != "hummus"

    @property
    def allergens(self) -> set[str]:
        return {allergen for amount in self.amounts for allergen in amount.item.allergens}

    def culprits(self, allergen: str) -> list[str]:
        return [amount.item.name for amount in self.amounts if allergen in amount.item.allergens]


class Member(NamedTuple):
    """Member of the household."""

    name: str
    allergy: str
    likes: str
    dislikes: str
    birthday: str


def mixed(value: Fraction) -> str:
    """Write a fraction the way cooks do: 1 1/2."""
    whole, rest = divmod(value, 1)
    if not rest:
        return str(whole)
    return f"{whole} {rest}" if whole else str(rest)


def _items() -> dict[str, Item]:
    rows = (line.split("|") for line in ITEMS.splitlines())
    return {
        name: Item(name, unit, int(cents), tuple(allergens.split()), kind)
        for name, unit, cents, allergens, kind in rows
    }


def _amount(text: str) -> Amount:
    words = text.split()
    unit = words.pop() if not words[-1].isdigit() else ""
    return Amount(ITEM[" ".join(words[:-1])], Fraction(words[-1]), unit)


ITEM = _items()
DISH = tuple(
    Dish(name, int(minutes), tuple(_amount(part) for part in amounts.split(", ")))
    for name, minutes, amounts in (line.split("|") for line in DISHES.splitlines())
)
_ITEM_LIST = tuple(ITEM.values())


class World:
    """One household; the same seed gives the same facts forever."""

    def __init__(self, seed: str) -> None:
        self.facts = Facts(seed)
        self.surname = self.facts.pick(SURNAMES, "surname")
        self.currency = self.facts.pick(("€", "£", "$"), "currency")
        self._prices: dict[str, list[int]] = {}

    def money(self, cents: int) -> str:
        return f"{self.currency}{cents // 100}.{cents % 100:02d}"

    @cached_property
    def shops(self) -> list[str]:
        return self.facts.sample(SHOPS, 3, "shops")

    def street(self, shop: str) -> str:
        return self.facts.sample(STREETS, 3, "streets")[self.shops.index(shop)]

    @cached_property
    def names(self) -> list[str]:
        """Everyone in the household, the two adults first."""
        children = self.facts.sample(CHILDREN, 1 + self.facts.number("children") % 3, "children names")
        return self.facts.sample(ADULTS, 2, "adults") + children

    @cached_property
    def members(self) -> list[Member]:
        return [self._member(name) for name in self.names]

    def _member(self, name: str) -> Member:
        number, fifth = divmod(self.facts.number("member", name), 5)
        allergy = ALLERGENS[number % len(ALLERGENS)] if fifth < 2 else ""
        foods = [food for food in TREATS if allergy not in ITEM[food].allergens]
        likes, dislikes = self.facts.sample(foods, 2, "tastes", name)
        month, day = divmod(number // len(ALLERGENS) % (12 * 28), 28)
        return Member(name, allergy, likes, dislikes, f"{day + 1} {MONTHS[month]}")

    @cached_property
    def dishes(self) -> list[Dish]:
        """The dishes they cook; the first seven are the week's menu, from Monday on."""
        return self.facts.sample(DISH, 10, "dishes")

    def dinner(self, day: str) -> Dish:
        return self.dishes[DAYS.index(day)]

    def cook(self, day: str) -> str:
        return self.facts.pick(self.names[:2], "cook", day)

    def minutes(self, dish: Dish) -> int:
        return dish.base_minutes + 5 * (self.facts.number("minutes", dish.name) % 4)

    def secret(self, dish: Dish) -> str:
        sweet = any(amount.item.name in ("sugar", "honey") for amount in dish.amounts) or dish.name == "pancakes"
        return self.facts.pick(SWEET_SECRETS if sweet else SECRETS, "secret", dish.name)

    def favourite(self, member: Member) -> Dish:
        fine = [dish for dish in self.dishes if member.allergy not in dish.allergens]
        return self.facts.pick(fine or self.dishes, "favourite", member.name)

    def prices(self, item: Item) -> list[int]:
        """Return the price of one pack at each shop, in cents; no two are the same."""
        if item.name not in self._prices:
            shop_prices: list[int] = []
            number = self.facts.number("price", item.name)
            for _ in self.shops:
                number, share = divmod(number, 50)
                cents = 5 * round(item.base_cents * (78 + share) / 500)
                while cents in shop_prices:
                    cents += 5
                shop_prices.append(cents)
            self._prices[item.name] = shop_prices
        return self._prices[item.name]

    def price(self, item: Item, shop: str) -> int:
        return self.prices(item)[self.shops.index(shop)]

    def cheapest(self, item: Item) -> str:
        return self.shops[min(range(len(self.shops)), key=self.prices(item).__getitem__)]

    def brand(self, item: Item) -> str:
        return self.facts.pick(BRANDS, "brand", item.name)

    def place(self, item: Item) -> str:
        return self.facts.pick(PLACES[item.kind], "place", item.name)

    def stock(self, item: Item) -> int:
        """Number of packs at home."""
        return self.facts.pick((0, 0, 1, 1, 2, 3), "stock", item.name)

    def rest_day(self, shop: str) -> str:
        return self.facts.pick(("Sunday", "Sunday", "Sunday", "Monday", "Wednesday"), "rest", shop)

    def hours(self, shop: str, day: str) -> tuple[str, str] | None:
        """Return the opening and closing time of a shop on a day, or None if it is closed."""
        if day == self.rest_day(shop):
            return None
        draw = self.facts
        opens = f"{7 + draw.number('opens', shop) % 3}:{draw.pick(('00', '30'), 'half', shop)}"
        if day in ("Saturday", "Sunday"):
            return opens, f"{13 + draw.number('weekend', shop) % 4}:00"
        return opens, f"{17 + draw.number('closes', shop) % 4}:{draw.pick(('00', '30'), 'late half', shop)}"

    def offer_day(self, shop: str) -> tuple[str, int]:
        """Return the shop's discount day and the discount in percent."""
        days = [day for day in DAYS if day != self.rest_day(shop)]
        return self.facts.pick(days, "offer", shop), self.facts.pick((5, 10, 20), "percent", shop)

    @property
    def budget(self) -> int:
        """The weekly food budget in cents."""
        return 500 * (14 + self.facts.number("budget") % 25)

    def eaters_with(self, allergens: set[str]) -> list[Member]:
        return [member for member in self.members if member.allergy in allergens]
