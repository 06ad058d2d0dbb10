"""Where a teacher is weak: counted by hand on what readers of our own making say, and by real greedy answers."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.data.chat_template import ASSISTANT, END, USER, ChatFormat, Turn
from baicai.data.document import ROLES, Document, Message
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.teacher.weakness import Weakness, find_weakness
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, generate
from baicai.model.transformer import Transformer
from tests.distillation.conftest import CPU
from tests.model.conftest import tiny

Says = dict[int, int]
"""Tokens that are said at some places instead of the real ones."""


def plain(text: str) -> Document:
    return Document("d", text, "made", "CC0-1.0")


def talk(*turns: str) -> Document:
    roles = ROLES[1:] * len(turns)
    return Document("d", "", "made", "CC0-1.0", tuple(map(Message, roles, turns)))


def ids(tokenizer: Tokenizer, documents: list[Document]) -> Tensor:
    return torch.tensor([token for one in documents for token in tokenizer.encode_document(one)])


def places(text: Tensor, token: int) -> list[int]:
    found: list[int] = (text == token).nonzero()[:, 0].tolist()
    return found


class Reciter:
    """Reads a text in order, once, and says what it was told to of each token."""

    def __init__(self, text: Tensor, vocab_size: int, sure: float | Tensor = 0.9, says: Says | None = None) -> None:
        self.text, self.vocab_size, self.read = text.clone(), vocab_size, 0
        self.sure = torch.as_tensor(sure).expand(len(text))
        for place, token in (says or {}).items():
            self.text[place] = token

    def hidden(self, tokens_BS: Tensor) -> Tensor:
        begin, self.read = self.read, self.read + tokens_BS.numel()
        return torch.arange(begin, self.read).view(*tokens_BS.shape, 1)

    def logits(self, hidden: Tensor) -> Tensor:
        places = hidden[:, 0] + 1
        share = self.sure[places, None]
        said = F.one_hot(self.text[places], self.vocab_size) > 0
        return torch.where(said, share, (1 - share) / (self.vocab_size - 1)).log()


def cut(text: Tensor, length: int) -> list[Tensor]:
    """Windows of a text, two at a time."""
    rows = [text[place : place + length + 1] for place in range(0, len(text) - length, length)]
    return [torch.stack(rows[place : place + 2]) for place in range(0, len(rows), 2)]


def test_documents_are_compared_by_their_means_and_the_worst_are_shown(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain(f"leaves of head {n}") for n in range(6)])
    number = torch.cat((torch.zeros(1), (text == tokenizer.end_id).cumsum(0)[:-1])).long()
    sure = torch.tensor([0.3, 0.1, 0.5, 0.4, 0.5, 0.5])[number]

    def found(**others: float | Tensor) -> Weakness:
        readers = {name: Reciter(text, tokenizer.vocab_size, share) for name, share in others.items()}
        return find_weakness(Reciter(text, tokenizer.vocab_size, sure), readers, cut(text, 7), tokenizer, CPU)

    two = found(even=0.35, odd=torch.where(number == 1, 0.6, 0.01))
    assert (two.documents, two.worse, two.answers, two.wrong) == (6, 2, 0, None)
    assert [one.who for one in two.examples] == ["odd", "even"]
    assert [one.text for one in two.examples] == ["leaves of head 1", "leaves of head 0"]
    assert two.examples[0].teacher == pytest.approx(-math.log(0.1))
    assert two.examples[1].other == pytest.approx(-math.log(0.35))
    assert found(itself=sure).worse == found().worse == 0
    assert (found(itself=sure).documents, found().documents) == (6, 0), "there was nobody else to ask"


def test_tokens_without_bytes_do_not_count(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain("one leaf"), plain("two leaves")] * 3)
    ends = text == tokenizer.end_id
    teacher = Reciter(text, tokenizer.vocab_size, torch.where(ends, 0.01, 0.5))
    other = Reciter(text, tokenizer.vocab_size, torch.where(ends, 0.9, 0.49))
    assert find_weakness(teacher, {"other": other}, cut(text, 5), tokenizer, CPU).worse == 0


def test_what_may_be_luck_is_no_weakness(tokenizer: Tokenizer) -> None:
    """The other wins each document on average: the first by one token, the second throughout."""
    text = ids(tokenizer, [plain("a head of cabbage"), plain("a head of lettuce"), plain("27")])
    ends = places(text, tokenizer.end_id)
    sure = torch.full((len(text),), 0.5)
    sure[3], sure[ends[0] :] = 0.9, 0.7
    teacher, other = Reciter(text, tokenizer.vocab_size, 0.5), Reciter(text, tokenizer.vocab_size, sure)
    found = find_weakness(teacher, {"other": other}, cut(text, len(text) - 1), tokenizer, CPU)
    assert (found.documents, [one.text for one in found.examples]) == (3, ["a head of lettuce"])


def test_who_is_hardly_better_is_as_good(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain("a head of cabbage " * 100)])
    for gain, worse in ((0.001, 0), (0.02, 1)):
        teacher, other = (Reciter(text, tokenizer.vocab_size, share) for share in (0.5, 0.5 ** (1 - gain)))
        assert find_weakness(teacher, {"other": other}, cut(text, 7), tokenizer, CPU).worse == worse


def test_a_question_and_its_answer_are_one_document_and_long_text_is_cut(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk("how many leaves?", "27"), plain("head " * 300), talk("how", "so", "it is", "a leaf")])
    teacher, other = (Reciter(text, tokenizer.vocab_size, share) for share in (0.2, 0.3))
    found = find_weakness(teacher, {"other": other}, cut(text, len(text) - 1), tokenizer, CPU)
    assert found.documents == found.worse == 4
    assert len(found.examples) == 3
    assert [found.examples[0].text, found.examples[1].text] == [("head " * 300)[:200], "how many leaves?\n27"]


def test_an_answer_is_wrong_if_one_of_its_tokens_would_not_be_said(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk(f"how many leaves has head {n}?", f"it has {n} of them") for n in range(4)])
    begins = [place + 1 for place in places(text, tokenizer.encode_chat([Message("user", "")])[-1])]
    ends = [place for place in places(text, tokenizer.end_id) if place > begins[0]][::2]
    wrong = {begins[1]: 5, ends[2] - 1: 5}
    harmless = {begins[0] - 3: 5, ends[0]: tokenizer.stop_ids[1], begins[3] - 1: 5}
    teacher = Reciter(text, tokenizer.vocab_size, says=wrong | harmless)
    found = find_weakness(teacher, {}, cut(text, len(text) - 1), tokenizer, CPU)
    assert (found.answers, found.wrong) == (4, 2), "a question is no answer, and any stop token ends one"


def test_an_answer_is_looked_at_in_one_window_with_its_question(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk("how many leaves?", "it has 27 leaves")] * 2)
    second = len(text) // 2
    for length, answers in ((second, 2), (second - 1, 1), (second + 1, 1)):
        whole = torch.cat((text, text[: 2 * length - len(text) + 1]))
        teacher = Reciter(whole, tokenizer.vocab_size)
        assert find_weakness(teacher, {}, cut(whole, length), tokenizer, CPU).answers == answers


def test_what_is_called_wrong_is_what_greedy_decoding_does_not_write(tokenizer: Tokenizer) -> None:
    model, learnt = tiny(), talk("what grows?", "a leaf")
    text = ids(tokenizer, [learnt])
    model = Transformer(dataclasses.replace(model.config, vocab_size=tokenizer.vocab_size))
    model.initialize(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(text[None, :-1])[0], text[1:]).backward()
        optimizer.step()
    model.requires_grad_(False)
    prompt = tokenizer.encode_chat(learnt.messages[:1])
    sampling = SamplingConfig(temperature=0, max_tokens=20)
    written = [token.id for token in generate(open_decoder(model), prompt, sampling, end_ids=tokenizer.stop_ids)]
    assert tokenizer.decode(written) == "a leaf"
    for answer in ("a leaf", "a lea", "a leaf.", "27", ""):
        asked = ids(tokenizer, [talk("what grows?", answer)])
        found = find_weakness(model, {}, cut(asked, len(asked) - 1), tokenizer, CPU)
        assert (found.answers, found.wrong) == (1, int(answer != "a leaf"))


MARKS = {
    "words": {"user": (f"{USER}user\n", f"{END}\n"), "assistant": (f"{ASSISTANT}assistant\n", f"{END}\n")},
    "nothing after": {"user": (USER, ""), "assistant": (ASSISTANT, END)},
    "text alone": {"user": ("Q: ", "\n"), "assistant": ("A: ", END)},
}


@pytest.mark.parametrize("name", MARKS)
def test_answers_are_found_by_the_markers_of_the_tokenizer(name: str, tokenizer: Tokenizer) -> None:
    turns = {role: Turn(before=before, after=after) for role, (before, after) in MARKS[name].items()}
    marked = Tokenizer(tokenizer.definition, ChatFormat(end=END, stop=[END], system=None, **turns))
    text = ids(
        marked, [talk("what grows?", "a leaf", "and then?", "27 more"), plain("Q: none\nA: none"), talk("a", "b")]
    )
    teacher = Reciter(text, marked.vocab_size)
    found = find_weakness(teacher, {}, cut(text, len(text) - 1), marked, CPU)
    assert (found.answers, found.wrong) == ((0, None) if name == "text alone" else (3, 0))
