"""Made-up documents."""

from baicai.data.document import Document

SENTENCE = (
    "the trunk grows a leaf, and 27 leaves make a head of cabbage; 白菜是一种蔬菜，叶子包着叶子。 Grüße aus Köln!"
)
WORDS = SENTENCE.split()


def text(number: int, num_words: int = 40) -> str:
    return " ".join(WORDS[(number * 7 + i * (1 + number % 5)) % len(WORDS)] for i in range(num_words))


def document(number: int, num_words: int = 40) -> Document:
    return Document(f"doc-{number}", text(number, num_words), "made", "CC0-1.0")
