"""Weaknesses of a teacher, against counts by hand for scripted models and against real greedy decoding."""

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

Predictions = dict[int, int]
"""Predicted tokens at some positions, instead of the real ones."""


def plain(text: str) -> Document:
    return Document("d", text, "made", "CC0-1.0")


def talk(*turns: str) -> Document:
    roles = ROLES[1:] * len(turns)
    return Document("d", "", "made", "CC0-1.0", tuple(map(Message, roles, turns)))


def ids(tokenizer: Tokenizer, documents: list[Document]) -> Tensor:
    return torch.tensor([token for document in documents for token in tokenizer.encode_document(document)])


def positions(text: Tensor, token: int) -> list[int]:
    indices: list[int] = (text == token).nonzero()[:, 0].tolist()
    return indices


class ScriptedModel:
    """A model that reads a text once, in order, and predicts each token with a given probability."""

    def __init__(
        self,
        text: Tensor,
        vocab_size: int,
        probability: float | Tensor = 0.9,
        predictions: Predictions | None = None,
    ) -> None:
        self.text, self.vocab_size, self.position = text.clone(), vocab_size, 0
        self.probability = torch.as_tensor(probability).expand(len(text))
        for position, token in (predictions or {}).items():
            self.text[position] = token

    def hidden(self, tokens_BS: Tensor) -> Tensor:
        start, self.position = self.position, self.position + tokens_BS.numel()
        return torch.arange(start, self.position).view(*tokens_BS.shape, 1)

    def logits(self, hidden: Tensor) -> Tensor:
        positions = hidden[:, 0] + 1
        probability = self.probability[positions, None]
        predicted = F.one_hot(self.text[positions], self.vocab_size) > 0
        return torch.where(predicted, probability, (1 - probability) / (self.vocab_size - 1)).log()


def windows_of(text: Tensor, length: int) -> list[Tensor]:
    """Return the windows of a text in batches of two."""
    rows = [text[start : start + length + 1] for start in range(0, len(text) - length, length)]
    return [torch.stack(rows[start : start + 2]) for start in range(0, len(rows), 2)]


def test_documents_are_compared_by_their_means_and_the_worst_are_examples(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain(f"leaves of head {n}") for n in range(6)])
    number = torch.cat((torch.zeros(1), (text == tokenizer.end_id).cumsum(0)[:-1])).long()
    probability = torch.tensor([0.3, 0.1, 0.5, 0.4, 0.5, 0.5])[number]

    def compare(**references: float | Tensor) -> Weakness:
        models = {name: ScriptedModel(text, tokenizer.vocab_size, value) for name, value in references.items()}
        return find_weakness(
            ScriptedModel(text, tokenizer.vocab_size, probability), models, windows_of(text, 7), tokenizer, CPU
        )

    two = compare(even=0.35, odd=torch.where(number == 1, 0.6, 0.01))
    assert (two.documents, two.worse, two.answers, two.wrong) == (6, 2, 0, None)
    assert [example.who for example in two.examples] == ["odd", "even"]
    assert [example.text for example in two.examples] == ["leaves of head 1", "leaves of head 0"]
    assert two.examples[0].teacher == pytest.approx(-math.log(0.1))
    assert two.examples[1].other == pytest.approx(-math.log(0.35))
    same = compare(itself=probability)
    assert same.worse == compare().worse == 0
    assert (same.documents, compare().documents) == (6, 0), "without references nothing is compared"


def test_tokens_without_bytes_are_not_scored(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain("one leaf"), plain("two leaves")] * 3)
    ends = text == tokenizer.end_id
    teacher = ScriptedModel(text, tokenizer.vocab_size, torch.where(ends, 0.01, 0.5))
    reference = ScriptedModel(text, tokenizer.vocab_size, torch.where(ends, 0.9, 0.49))
    assert find_weakness(teacher, {"reference": reference}, windows_of(text, 5), tokenizer, CPU).worse == 0


def test_insignificant_loss_is_not_a_weakness(tokenizer: Tokenizer) -> None:
    """The reference is better on both documents: on the first by one token, on the second throughout."""
    text = ids(tokenizer, [plain("a head of cabbage"), plain("a head of lettuce"), plain("27")])
    ends = positions(text, tokenizer.end_id)
    probability = torch.full((len(text),), 0.5)
    probability[3], probability[ends[0] :] = 0.9, 0.7
    teacher, reference = (
        ScriptedModel(text, tokenizer.vocab_size, 0.5),
        ScriptedModel(text, tokenizer.vocab_size, probability),
    )
    weakness = find_weakness(teacher, {"reference": reference}, windows_of(text, len(text) - 1), tokenizer, CPU)
    assert (weakness.documents, [example.text for example in weakness.examples]) == (3, ["a head of lettuce"])


def test_small_loss_is_not_a_weakness(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [plain("a head of cabbage " * 100)])
    for gain, worse in ((0.001, 0), (0.02, 1)):
        teacher, reference = (ScriptedModel(text, tokenizer.vocab_size, share) for share in (0.5, 0.5 ** (1 - gain)))
        assert find_weakness(teacher, {"reference": reference}, windows_of(text, 7), tokenizer, CPU).worse == worse


def test_question_and_answer_are_one_document_and_examples_are_cut(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk("how many leaves?", "27"), plain("head " * 300), talk("how", "so", "it is", "a leaf")])
    teacher, reference = (ScriptedModel(text, tokenizer.vocab_size, share) for share in (0.2, 0.3))
    weakness = find_weakness(teacher, {"reference": reference}, windows_of(text, len(text) - 1), tokenizer, CPU)
    assert weakness.documents == weakness.worse == 4
    assert len(weakness.examples) == 3
    assert [weakness.examples[0].text, weakness.examples[1].text] == [("head " * 300)[:200], "how many leaves?\n27"]


def test_answer_is_wrong_if_one_token_is_mispredicted(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk(f"how many leaves has head {n}?", f"it has {n} of them") for n in range(4)])
    starts = [position + 1 for position in positions(text, tokenizer.encode_chat([Message("user", "")])[-1])]
    ends = [position for position in positions(text, tokenizer.end_id) if position > starts[0]][::2]
    wrong = {starts[1]: 5, ends[2] - 1: 5}
    harmless = {starts[0] - 3: 5, ends[0]: tokenizer.stop_ids[1], starts[3] - 1: 5}
    teacher = ScriptedModel(text, tokenizer.vocab_size, predictions=wrong | harmless)
    weakness = find_weakness(teacher, {}, windows_of(text, len(text) - 1), tokenizer, CPU)
    assert (weakness.answers, weakness.wrong) == (4, 2), "questions are not checked, and any stop token ends an answer"


def test_answer_is_checked_only_in_one_window_with_its_question(tokenizer: Tokenizer) -> None:
    text = ids(tokenizer, [talk("how many leaves?", "it has 27 leaves")] * 2)
    second = len(text) // 2
    for length, answers in ((second, 2), (second - 1, 1), (second + 1, 1)):
        padded = torch.cat((text, text[: 2 * length - len(text) + 1]))
        teacher = ScriptedModel(padded, tokenizer.vocab_size)
        assert find_weakness(teacher, {}, windows_of(padded, length), tokenizer, CPU).answers == answers


def test_wrong_answers_are_those_that_greedy_decoding_does_not_generate(tokenizer: Tokenizer) -> None:
    model, conversation = tiny(), talk("what grows?", "a leaf")
    text = ids(tokenizer, [conversation])
    model = Transformer(dataclasses.replace(model.config, vocab_size=tokenizer.vocab_size))
    model.initialize(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(text[None, :-1])[0], text[1:]).backward()
        optimizer.step()
    model.requires_grad_(False)
    prompt = tokenizer.encode_chat(conversation.messages[:1])
    sampling = SamplingConfig(temperature=0, max_tokens=20)
    generated = [token.id for token in generate(open_decoder(model), prompt, sampling, end_ids=tokenizer.stop_ids)]
    assert tokenizer.decode(generated) == "a leaf"
    for answer in ("a leaf", "a lea", "a leaf.", "27", ""):
        text = ids(tokenizer, [talk("what grows?", answer)])
        weakness = find_weakness(model, {}, windows_of(text, len(text) - 1), tokenizer, CPU)
        assert (weakness.answers, weakness.wrong) == (1, int(answer != "a leaf"))


MARKS = {
    "words": {"user": (f"{USER}user\n", f"{END}\n"), "assistant": (f"{ASSISTANT}assistant\n", f"{END}\n")},
    "no marker after": {"user": (USER, ""), "assistant": (ASSISTANT, END)},
    "plain text": {"user": ("Q: ", "\n"), "assistant": ("A: ", END)},
}


@pytest.mark.parametrize("name", MARKS)
def test_answers_are_found_by_the_tokenizers_chat_markers(name: str, tokenizer: Tokenizer) -> None:
    turns = {role: Turn(before=before, after=after) for role, (before, after) in MARKS[name].items()}
    marked = Tokenizer(tokenizer.definition, ChatFormat(end=END, stop=[END], system=None, **turns))
    text = ids(
        marked, [talk("what grows?", "a leaf", "and then?", "27 more"), plain("Q: none\nA: none"), talk("a", "b")]
    )
    teacher = ScriptedModel(text, marked.vocab_size)
    weakness = find_weakness(teacher, {}, windows_of(text, len(text) - 1), marked, CPU)
    assert (weakness.answers, weakness.wrong) == ((0, None) if name == "plain text" else (3, 0))
