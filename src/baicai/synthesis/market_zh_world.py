"""一个菜市场和一户人家: the stalls of a Chinese market and a family that shops there."""

from functools import cached_property
from typing import NamedTuple

from baicai.synthesis.phrasing import Facts, options

DAYS = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
MARKETS = options("""
东门菜市场|南河早市|和平路菜场|西关菜市场|新桥农贸市场|柳巷菜市场|北街早市|向阳菜市场|河滨农贸市场
老城根菜市场
""")
SELLERS = options("""
王大姐|李叔|老张|陈阿姨|刘婶|赵师傅|周大爷|孙嫂|吴伯|郑姐|冯大妈|何老板|马叔|徐阿姨|胡大哥|林婶|梁师傅
宋大姐
""")
SPOTS = options("""
进门左手第一家|进门右手第三家|市场最里头|水产区旁边|东头靠墙的位置|二楼楼梯口|正中间那一排|后门口|停车棚对面
豆腐坊隔壁|卖早点的旁边|大槐树底下
""")
HABITS = options("""
总爱给老顾客抹零|买得多就送一把小葱|从来不还价|下午五点以后会便宜一些|只收现金|嗓门大，心肠好
会帮人把鱼收拾干净|称好以后总要再添一点|天不亮就出摊|爱跟人聊天气|每样菜都让人先尝|秤从来不缺斤少两
""")
SURNAMES = options("林|陈|周|沈|许|韩|唐|曹|袁|邓|傅|曾|彭|苏|叶|程|魏|蒋|田|杜")
ELDERS = options("爷爷|奶奶|外公|外婆")
CHILDREN = options("小雨|豆豆|乐乐|阳阳|小满|果果|天天|小禾|团团|安安|小川|米粒|冬冬|石头|朵朵|小北")
PLACES = {
    "菜": options("阳台的竹筐里|冰箱最下面的抽屉里|厨房门后的菜篮子里|楼道的纸箱里|水池下面的柜子里"),
    "肉": options("冷冻室第一层|冷冻室最下面|冰箱保鲜层|冰箱中间那格"),
    "干": options("灶台左边的柜子里|米缸旁边|吊柜第二层|餐边柜的铁盒里|碗柜上面的玻璃罐里|窗台下的木箱里"),
}
# 名称|几角一个单位|单位|数它的量词|放哪儿
GOODS = """白菜|12|斤|棵|菜
土豆|18|斤|个|菜
萝卜|14|斤|根|菜
胡萝卜|22|斤|根|菜
茄子|32|斤|个|菜
黄瓜|36|斤|根|菜
西红柿|42|斤|个|菜
青椒|44|斤|个|菜
菠菜|38|斤|把|菜
芹菜|34|斤|把|菜
韭菜|40|斤|把|菜
豆角|56|斤|把|菜
冬瓜|16|斤|块|菜
南瓜|20|斤|块|菜
莲藕|60|斤|节|菜
蘑菇|64|斤|盒|菜
豆芽|24|斤|袋|菜
玉米|20|根|根|菜
小葱|10|把|把|菜
香菜|16|把|把|菜
生姜|70|斤|块|菜
大蒜|58|斤|头|菜
豆腐|25|块|块|肉
豆腐干|84|斤|块|肉
鸡蛋|52|斤|个|肉
五花肉|168|斤|块|肉
排骨|236|斤|块|肉
牛肉|398|斤|块|肉
鸡翅|190|斤|个|肉
鸡|140|斤|只|肉
鲫鱼|116|斤|条|肉
草鱼|88|斤|条|肉
虾|340|斤|只|肉
花生|76|斤|把|干
大米|30|斤|碗|干
面条|36|斤|把|干
面粉|28|斤|碗|干
粉条|64|斤|把|干
木耳|60|袋|朵|干
红枣|124|斤|颗|干
苹果|58|斤|个|菜
橘子|46|斤|个|菜
梨|44|斤|个|菜"""
# 菜名|分钟|用料（四个人）
DISHES = """醋溜白菜|12|白菜1棵、大蒜2头
白菜豆腐汤|20|白菜1棵、豆腐2块、生姜1块
白菜炖粉条|35|白菜1棵、粉条2把、五花肉1块
酸辣土豆丝|15|土豆3个、青椒2个、大蒜1头
土豆烧牛肉|80|牛肉2块、土豆4个、胡萝卜2根、生姜1块
红烧茄子|25|茄子3个、大蒜1头、青椒2个
西红柿炒鸡蛋|12|西红柿4个、鸡蛋4个、小葱1把
拍黄瓜|8|黄瓜3根、大蒜1头、花生1把
红烧肉|90|五花肉2块、生姜1块、小葱1把
冬瓜排骨汤|75|冬瓜1块、排骨8块、生姜1块
莲藕排骨汤|90|莲藕2节、排骨8块、红枣8颗
清蒸鲫鱼|25|鲫鱼2条、生姜1块、小葱1把
鲫鱼豆腐汤|40|鲫鱼2条、豆腐2块、生姜1块
红烧草鱼|45|草鱼1条、大蒜1头、生姜1块、香菜1把
白灼虾|15|虾24只、生姜1块、小葱1把
韭菜炒鸡蛋|10|韭菜1把、鸡蛋4个
菠菜面|15|菠菜1把、面条2把、鸡蛋4个
芹菜炒豆腐干|15|芹菜1把、豆腐干4块
红烧鸡翅|35|鸡翅12个、生姜1块
蘑菇炖鸡|70|鸡1只、蘑菇1盒、生姜1块
家常豆腐|20|豆腐2块、木耳12朵、青椒2个
豆角焖面|35|豆角2把、面条2把、五花肉1块
木耳炒肉|20|木耳16朵、五花肉1块、黄瓜1根
韭菜饺子|70|韭菜2把、鸡蛋4个、面粉4碗
玉米排骨汤|80|玉米2根、排骨8块、胡萝卜2根
清炒豆芽|8|豆芽2袋、小葱1把
南瓜粥|40|南瓜1块、大米2碗、红枣8颗
萝卜炖牛肉|85|萝卜2根、牛肉2块、香菜1把"""
PICKING = {
    "白菜": "挑叶子包得紧、掂着沉的，根上的切口要白",
    "土豆": "挑皮光滑、没发芽、不发绿的",
    "黄瓜": "挑带小刺、顶花还新鲜的，摸着要硬",
    "西红柿": "挑颜色均匀、捏着有点软但不烂的",
    "茄子": "挑皮亮、蒂是绿的，太大的籽多",
    "莲藕": "挑节短粗、表面没有伤的，颜色太白的不要",
    "冬瓜": "挑皮上有一层白霜、切面瓤白肉厚的",
    "菠菜": "挑叶子挺、根发红的，叶子发黄的不要",
    "豆腐": "闻一闻有豆香，切口细，不发黏的才新鲜",
    "鲫鱼": "挑活蹦乱跳的，眼睛要亮，鳃要鲜红",
    "草鱼": "挑游得欢、鳞片完整的",
    "虾": "挑壳硬透亮、头和身子连得紧的",
    "五花肉": "挑肥瘦相间、颜色鲜红、按下去能弹回来的",
    "鸡蛋": "拿起来对着光看，里面透亮的新鲜，晃着响的不要",
    "生姜": "挑皮干、捏着硬、没烂斑的",
    "苹果": "挑掂着沉、果蒂新鲜的",
    "玉米": "挑皮还绿、须子发褐、粒儿饱满的",
    "韭菜": "挑叶子窄、根部白、掐着嫩的",
}
SWAPS = {
    "小葱": "蒜苗",
    "香菜": "芹菜叶",
    "五花肉": "豆腐干",
    "牛肉": "鸡腿肉",
    "鲫鱼": "草鱼",
    "草鱼": "鲤鱼",
    "粉条": "宽粉",
    "菠菜": "小油菜",
    "木耳": "海带丝",
    "蘑菇": "杏鲍菇",
    "豆腐": "豆腐干",
    "青椒": "彩椒",
    "花生": "白芝麻",
    "莲藕": "土豆",
    "冬瓜": "萝卜",
    "排骨": "鸡块",
}
AVOIDED = ("虾", "花生", "鸡蛋", "香菜", "大蒜", "韭菜", "牛肉", "芹菜")
ALLERGIC = ("虾", "花生", "鸡蛋")
_HAN = "零一二三四五六七八九"


class Good(NamedTuple):
    """A product of a stall, with its price unit and measure word."""

    name: str
    base_jiao: int
    unit: str
    counted: str
    kind: str


class Part(NamedTuple):
    """Amount of an ingredient in a dish for four."""

    good: Good
    number: int

    def times(self, people: int) -> str:
        halves = self.number * people // 2
        whole, half = divmod(halves, 2)
        number = two(whole) if whole and not half else f"{two(whole)}{self.good.counted}半" if whole else "半"
        return f"{self.good.name}{number}" if half and whole else f"{self.good.name}{number}{self.good.counted}"


class Dish(NamedTuple):
    """A dish for four people."""

    name: str
    base_minutes: int
    parts: tuple[Part, ...]

    def uses(self, name: str) -> bool:
        return any(part.good.name == name for part in self.parts)


class Person(NamedTuple):
    """Member of the family."""

    name: str
    avoids: str
    birthday: str


def han(number: int) -> str:
    """Write 1 to 9999 in Chinese numerals."""
    text, zero = "", False
    for digit, unit in zip(f"{number:04d}", ("千", "百", "十", ""), strict=True):
        if digit == "0":
            zero = bool(text)
            continue
        text += ("零" if zero else "") + _HAN[int(digit)] + unit
        zero = False
    return text.removeprefix("一") if text.startswith("一十") else text


def two(number: int) -> str:
    """Write a number before a measure word: two is 两 there."""
    return "两" if number == 2 else han(number)


def spoken(jiao: int) -> str:
    """Say an amount the way people do at a stall: 三块五."""
    yuan, rest = divmod(jiao, 10)
    if not yuan:
        return f"{two(rest)}毛"
    return f"{two(yuan)}块{han(rest)}" if rest else f"{two(yuan)}块钱"


def written(jiao: int) -> str:
    return f"{jiao // 10}.{jiao % 10}元" if jiao % 10 else f"{jiao // 10}元"


def _dish(line: str) -> Dish:
    name, minutes, parts = line.split("|")
    ingredients = []
    for part in parts.split("、"):
        bare = part.rstrip("个根把块棵节盒袋头只条碗颗朵")
        word = bare.rstrip("0123456789")
        ingredients.append(Part(GOOD[word], int(bare[len(word) :])))
    return Dish(name, int(minutes), tuple(ingredients))


GOOD = {
    name: Good(name, int(jiao), unit, counted, kind)
    for name, jiao, unit, counted, kind in (line.split("|") for line in GOODS.splitlines())
}
ALL_GOODS = tuple(GOOD.values())
DISH = tuple(_dish(line) for line in DISHES.splitlines())


class World:
    """One market and one family; the same seed gives the same facts forever."""

    def __init__(self, seed: str) -> None:
        self.facts = Facts(seed)
        self.market = self.facts.pick(MARKETS, "market")
        self.surname = self.facts.pick(SURNAMES, "surname")
        self._offers: dict[str, list[tuple[str, int]]] = {}

    @cached_property
    def sellers(self) -> list[str]:
        return self.facts.sample(SELLERS, 4, "sellers")

    def spot(self, seller: str) -> str:
        return self.facts.sample(SPOTS, 4, "spots")[self.sellers.index(seller)]

    def habit(self, seller: str) -> str:
        return self.facts.sample(HABITS, 4, "habits")[self.sellers.index(seller)]

    def rest_day(self, seller: str) -> str:
        return self.facts.pick(DAYS[:5], "rest", seller)

    def offers(self, good: Good) -> list[tuple[str, int]]:
        """Return two stalls that sell a product, with its price per unit in jiao, the cheaper one first."""
        if good.name not in self._offers:
            number = self.facts.number("offers", good.name)
            stall = number % 4
            other_stall = (stall + 1 + number // 4 % 3) % 4
            step = 2 if good.unit == "斤" else 1
            low = max(step, round(good.base_jiao * (80 + number // 12 % 35) / 100 / step) * step)
            self._offers[good.name] = [
                (self.sellers[stall], low),
                (self.sellers[other_stall], low + step * (1 + number // 420 % 4)),
            ]
        return self._offers[good.name]

    def sold_by(self, seller: str) -> list[Good]:
        return [good for good in ALL_GOODS if seller in dict(self.offers(good))]

    @property
    def hours(self) -> tuple[int, int]:
        return self.facts.pick((5, 6, 7), "opens"), self.facts.pick((12, 13, 18, 19, 20), "closes")

    @cached_property
    def names(self) -> list[str]:
        """The family: an elder, the parents, the children."""
        children = self.facts.sample(CHILDREN, 1 + self.facts.number("n") % 2, "children")
        return [self.facts.pick(ELDERS, "elder"), "爸爸", "妈妈", *children]

    @cached_property
    def family(self) -> list[Person]:
        return [self._person(name) for name in self.names]

    def _person(self, name: str) -> Person:
        draw = self.facts
        avoids = draw.pick(AVOIDED, name, "avoids") if draw.number(name, "picky") % 2 else ""
        return Person(name, avoids, f"{1 + draw.number(name, 'month') % 12}月{1 + draw.number(name, 'day') % 28}日")

    @cached_property
    def dishes(self) -> list[Dish]:
        """The dishes they cook; the first seven are the week's, from Monday on."""
        return self.facts.sample(DISH, 10, "dishes")

    def dinner(self, day: str) -> Dish:
        return self.dishes[DAYS.index(day)]

    def cook(self, day: str) -> str:
        return self.facts.pick(self.names[:3], "cook", day)

    def minutes(self, dish: Dish) -> int:
        return dish.base_minutes + self.facts.pick((0, 2, 3, 5), "minutes", dish.name)

    def favourite(self, person: Person) -> Dish:
        fine = [dish for dish in self.dishes if not person.avoids or not dish.uses(person.avoids)]
        return self.facts.pick(fine, "favourite", person.name)

    def place(self, good: Good) -> str:
        return self.facts.pick(PLACES[good.kind], "place", good.name)

    def stock(self, good: Good) -> int:
        return self.facts.pick((0, 0, 1, 2, 3, 4), "stock", good.name)

    @property
    def budget(self) -> int:
        """Weekly food budget in yuan."""
        return 20 * (12 + self.facts.number("budget") % 20)
