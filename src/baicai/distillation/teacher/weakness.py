"""Where a teacher is weak on the user's text: documents that another predicts better, and answers that it gets wrong.

Shape suffixes: B sequences, S positions, T tokens of the text in order, R readers, the teacher first, C documents,
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
MIN_RELATIVE_LOSS = 0.01
"""Of a document's nats: who is better by less is as good, however sure that is."""
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class WeakDocument:
    """A document that another predicts better than the teacher."""

    text: str
    """How it begins."""
    teacher: float
    """Mean nats of a token."""
    other: float
    who: str


@dataclass(frozen=True)
class Weakness:
    """Where a teacher is not to be followed."""

    documents: int
    """That others were asked about."""
    worse: int
    """Of those, the ones that another predicts better: by more than two standard errors, and by `LEAST_LOST`."""
    answers: int
    """Of an assistant, those that were looked at."""
    wrong: int | None
    """Answers that the teacher, asked the same, would not give word by word; None if none was looked at."""
    examples: list[WeakDocument]
    """Those on which it loses most, over all their tokens."""


def find_weakness(
    teacher: LanguageModel,
    others: Mapping[str, LanguageModel],
    windows: Iterable[Tensor],
    tokenizer: Tokenizer,
    device: torch.device,
) -> Weakness:
    """Return where a teacher is weaker than others on a text, given as windows [B, S + 1] that follow each other.

    A question and its answer are one document. Tokens that stand for no bytes are not scored. An answer is looked at if
    it is in one window with its question, whatever was said before; greedy decoding gives it if each of its tokens is
    the likeliest after those before, so nothing has to be written. `device` is where the readers are.
    """
    text, bytes_V = _read([teacher, *others.values()], windows, device), tokenizer.bytes_per_token()
    seam = _seam(tokenizer, bytes_V)
    seams_A = _places(text.tokens_T, seam)
    starts_C = _document_starts(text.tokens_T, seams_A, len(seam), tokenizer.end_id)
    scored_T = bytes_V[text.tokens_T] > 0
    scored_T[0] = False
    spans = [span for span in np.split(np.arange(len(scored_T)), starts_C[1:]) if scored_T[span].any()]
    nats = [text.nats_RT[:, span[scored_T[span]]] for span in spans]
    lost = [_lost(nats_RT) for nats_RT in nats]
    weak = [place for place in np.argsort([-lost_R.max() for lost_R in lost], kind="stable") if lost[place].any()]
    examples = []
    for place in weak[:EXAMPLES]:
        who, mean_R = int(lost[place].argmax()), nats[place].mean(1).tolist()
        shown = _shown(text.tokens_T[spans[place]], bytes_V, tokenizer)
        examples.append(WeakDocument(shown, mean_R[0], mean_R[who], list(others)[who - 1]))
    right = list(_right(text, seams_A + len(seam), starts_C, tokenizer.stop_ids))
    return Weakness(len(spans) if others else 0, len(weak), len(right), right.count(False) if right else None, examples)


def _lost(nats_RT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many nats the teacher loses on a document to each reader, [R]; 0 if that may be luck, or is little."""
    lost_RT = nats_RT[0] - nats_RT
    lost_R = lost_RT.sum(1)
    least_R = np.maximum(2 * np.sqrt((lost_RT**2).sum(1)), MIN_RELATIVE_LOSS * nats_RT[0].sum())
    return np.where(lost_R > least_R, lost_R, 0)


class _Text(NamedTuple):
    """A text, and what was said of each token before it was read; the first is only read."""

    tokens_T: Ids
    guess_T: Ids
    """What the teacher finds the likeliest."""
    nats_RT: NDArray[np.float64]
    window_tokens: int


@torch.no_grad()
def _read(readers: Sequence[LanguageModel], windows: Iterable[Tensor], device: torch.device) -> _Text:
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for tokens_BS1 in windows:
        tokens_BS1 = tokens_BS1.to(device)
        if not columns:
            columns.append((tokens_BS1[0, :1], tokens_BS1[0, :1], torch.zeros(len(readers), 1, device=device)))
        said = [
            (logits_TV.argmax(-1), F.cross_entropy(logits_TV, real_T, reduction="none"))
            for logits_TV, real_T in logit_chunks(readers[0], tokens_BS1)
        ]
        guess_T, nats_T = (torch.cat(chunks) for chunks in zip(*said, strict=True))
        nats_RT = torch.stack([nats_T, *(window_nats(one, tokens_BS1).flatten() for one in readers[1:])])
        columns.append((tokens_BS1[:, 1:].flatten(), guess_T, nats_RT))
    tokens_T, guess_T, nats_RT = (torch.cat(parts, -1).cpu() for parts in zip(*columns, strict=True))
    return _Text(tokens_T.numpy(), guess_T.numpy(), nats_RT.double().numpy(), tokens_BS1.shape[1] - 1)


def _seam(tokenizer: Tokenizer, bytes_V: Ids) -> list[int]:
    """Return the tokens between a question and its answer; none if ordinary text could be the same."""
    one, other = (reversed(tokenizer.encode_chat([Message("user", text)])) for text in "ab")
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    found = [token for token, _ in same][::-1]
    return found if (bytes_V[found] == 0).any() else []


def _places(tokens_T: Ids, wanted: Sequence[int]) -> Ids:
    """Return where some tokens begin to come in this order."""
    if not 0 < len(wanted) <= len(tokens_T):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero((sliding_window_view(tokens_T, len(wanted)) == wanted).all(1))


def _document_starts(tokens_T: Ids, seams_A: Ids, seam_tokens: int, end_id: int) -> Ids:
    starts_C = np.concatenate([[0], np.flatnonzero(tokens_T[:-1] == end_id) + 1])
    return starts_C[~np.isin(starts_C, seams_A[:, None] + np.arange(1, seam_tokens + 1))]


def _right(text: _Text, answers_A: Ids, starts_C: Ids, stop_ids: Sequence[int]) -> Iterator[bool]:
    """Yield of each answer that ends, in one window with its question, whether the teacher gives it."""
    stops_T = np.isin(text.tokens_T, stop_ids)
    same_T = (text.guess_T == text.tokens_T) | (stops_T & np.isin(text.guess_T, stop_ids))
    for begin in answers_A:
        ends = np.flatnonzero(stops_T[begin : begin + text.window_tokens])
        asked = starts_C[np.searchsorted(starts_C, begin) - 1]
        if len(ends) and (begin + ends[0] - 1) // text.window_tokens * text.window_tokens <= asked:
            yield bool(same_T[begin : begin + ends[0] + 1].all())


def _shown(ids: Ids, bytes_V: Ids, tokenizer: Tokenizer) -> str:
    """Return the beginning of a document, each message on a line."""
    ids = ids[: 4 * CHARACTERS]
    messages = (tokenizer.decode(part.tolist()) for part in np.split(ids, np.flatnonzero(bytes_V[ids] == 0)))
    return "\n".join(filter(None, messages))[:CHARACTERS]
