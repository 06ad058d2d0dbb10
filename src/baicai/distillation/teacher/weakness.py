"""Weaknesses of a teacher on the user's text: documents that another model predicts better, and wrong answers.

Shape suffixes: B sequences, S positions, T tokens of the text in order, R models, the teacher first, C documents,
A answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.data.document import Message
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.measuring.metrics import LanguageModel, logit_chunks, window_nats

EXAMPLES, CHARACTERS = 3, 200
"""Number of example documents, and of characters shown of each."""
MIN_RELATIVE_LOSS = 0.01
"""Smallest loss that counts, relative to a document's nats: a smaller one is irrelevant, however significant."""
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class WeakDocument:
    """A document that another model predicts better than the teacher."""

    text: str
    """Beginning of the document."""
    teacher: float
    """The teacher's mean nats per token."""
    other: float
    """The same of the other model."""
    who: str
    """Name of the other model."""


@dataclass(frozen=True)
class Weakness:
    """Results of the comparison on one domain."""

    documents: int
    """Number of documents on which the models were compared; 0 without other models."""
    worse: int
    """Documents that another model predicts better, by more than two standard errors and by `MIN_RELATIVE_LOSS`."""
    answers: int
    """Number of assistant answers that were checked."""
    wrong: int | None
    """Answers that the teacher would not give word by word for the same question; None if none was checked."""
    examples: list[WeakDocument]
    """Documents with the largest total loss."""


def find_weakness(
    teacher: LanguageModel,
    references: Mapping[str, LanguageModel],
    windows: Iterable[Tensor],
    tokenizer: Tokenizer,
    device: torch.device,
) -> Weakness:
    """Compare a teacher with reference models on a text, and check its answers to the questions in it.

    A question and its answer are one document. Tokens that represent no bytes are not scored. An answer is checked if
    it is in one window with its question; earlier turns do not matter. Greedy decoding would produce it if each token
    is the most likely one after the real tokens before it, so nothing has to be generated.

    Args:
        references: the other models, by name.
        windows: consecutive windows of the text, each [B, S + 1].
        device: the device of all models.
    """
    text, bytes_V = _evaluate([teacher, *references.values()], windows, device), tokenizer.bytes_per_token()
    marker = _answer_marker(tokenizer, bytes_V)
    markers_A = _find_sequence(text.tokens_T, marker)
    starts_C = _document_starts(text.tokens_T, markers_A, len(marker), tokenizer.end_id)
    scored_T = bytes_V[text.tokens_T] > 0
    scored_T[0] = False
    spans = [span for span in np.split(np.arange(len(scored_T)), starts_C[1:]) if scored_T[span].any()]
    nats = [text.nats_RT[:, span[scored_T[span]]] for span in spans]
    losses = [_significant_loss(nats_RT) for nats_RT in nats]
    order = np.argsort([-loss_R.max() for loss_R in losses], kind="stable")
    weak = [index for index in order if losses[index].any()]
    examples = []
    for index in weak[:EXAMPLES]:
        best, mean_R = int(losses[index].argmax()), nats[index].mean(1).tolist()
        excerpt = _excerpt(text.tokens_T[spans[index]], bytes_V, tokenizer)
        examples.append(WeakDocument(excerpt, mean_R[0], mean_R[best], list(references)[best - 1]))
    correct = list(_check_answers(text, markers_A + len(marker), starts_C, tokenizer.stop_ids))
    wrong = correct.count(False) if correct else None
    return Weakness(len(spans) if references else 0, len(weak), len(correct), wrong, examples)


def _significant_loss(nats_RT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nats that the teacher loses to each model on a document, [R]; 0 if insignificant or small."""
    loss_RT = nats_RT[0] - nats_RT
    loss_R = loss_RT.sum(1)
    min_loss_R = np.maximum(2 * np.sqrt((loss_RT**2).sum(1)), MIN_RELATIVE_LOSS * nats_RT[0].sum())
    return np.where(loss_R > min_loss_R, loss_R, 0)


class _Text(NamedTuple):
    """Tokens of a text and the models' predictions of each; the first token is context only."""

    tokens_T: Ids
    predicted_T: Ids
    """The teacher's most likely tokens."""
    nats_RT: NDArray[np.float64]
    """Negative log-likelihood of the real tokens under each model."""
    window_tokens: int


@torch.no_grad()
def _evaluate(models: Sequence[LanguageModel], windows: Iterable[Tensor], device: torch.device) -> _Text:
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for tokens_BS1 in windows:
        tokens_BS1 = tokens_BS1.to(device)
        if not columns:
            columns.append((tokens_BS1[0, :1], tokens_BS1[0, :1], torch.zeros(len(models), 1, device=device)))
        chunks = [
            (logits_TV.argmax(-1), F.cross_entropy(logits_TV, targets_T, reduction="none"))
            for logits_TV, targets_T in logit_chunks(models[0], tokens_BS1)
        ]
        predicted_T, nats_T = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        nats_RT = torch.stack([nats_T, *(window_nats(model, tokens_BS1).flatten() for model in models[1:])])
        columns.append((tokens_BS1[:, 1:].flatten(), predicted_T, nats_RT))
    tokens_T, predicted_T, nats_RT = (torch.cat(parts, -1).cpu() for parts in zip(*columns, strict=True))
    return _Text(tokens_T.numpy(), predicted_T.numpy(), nats_RT.double().numpy(), tokens_BS1.shape[1] - 1)


def _answer_marker(tokenizer: Tokenizer, bytes_V: Ids) -> list[int]:
    """Return the tokens between a question and its answer; empty if ordinary text could contain them, too."""
    first, second = (reversed(tokenizer.encode_chat([Message("user", text)])) for text in "ab")
    common = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    marker = [token for token, _ in common][::-1]
    return marker if (bytes_V[marker] == 0).any() else []


def _find_sequence(tokens_T: Ids, sequence: Sequence[int]) -> Ids:
    """Return the positions at which a sequence of tokens begins."""
    if not 0 < len(sequence) <= len(tokens_T):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero((sliding_window_view(tokens_T, len(sequence)) == sequence).all(1))


def _document_starts(tokens_T: Ids, markers_A: Ids, marker_tokens: int, end_id: int) -> Ids:
    starts_C = np.concatenate([[0], np.flatnonzero(tokens_T[:-1] == end_id) + 1])
    return starts_C[~np.isin(starts_C, markers_A[:, None] + np.arange(1, marker_tokens + 1))]


def _check_answers(text: _Text, answers_A: Ids, starts_C: Ids, stop_ids: Sequence[int]) -> Iterator[bool]:
    """Yield whether the teacher gives each answer, for complete answers in one window with their question."""
    is_stop_T = np.isin(text.tokens_T, stop_ids)
    correct_T = (text.predicted_T == text.tokens_T) | (is_stop_T & np.isin(text.predicted_T, stop_ids))
    for start in answers_A:
        stops = np.flatnonzero(is_stop_T[start : start + text.window_tokens])
        question = starts_C[np.searchsorted(starts_C, start) - 1]
        if len(stops) and (start + stops[0] - 1) // text.window_tokens * text.window_tokens <= question:
            yield bool(correct_T[start : start + stops[0] + 1].all())


def _excerpt(ids: Ids, bytes_V: Ids, tokenizer: Tokenizer) -> str:
    """Return the beginning of a document, one message per line."""
    ids = ids[: 4 * CHARACTERS]
    messages = (tokenizer.decode(part.tolist()) for part in np.split(ids, np.flatnonzero(bytes_V[ids] == 0)))
    return "\n".join(filter(None, messages))[:CHARACTERS]
