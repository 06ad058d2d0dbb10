"""Tokens drawn from a teacher: few stand for its whole distribution, for each comes as often as it is likely.

Shape suffixes: B sequences, S positions, T tokens, E width of what a head reads, V vocabulary, N samples.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baicai.distillation.measuring.metrics import head_logit_chunks
from baicai.distillation.teacher.models import Teacher


def record_type(vocab_size: int, samples: int) -> np.dtype[np.void]:
    """Return what is kept of a position: the nats of its real next token, and the drawn ids in ascending order."""
    return np.dtype([("nats", "<f4"), ("samples", "<u2" if vocab_size <= 2**16 else "<u4", (samples,))])


def sample_tokens(logits_TV: Tensor, chance_T: Tensor, samples: int) -> Tensor:
    """Return ids [T, N] drawn from softmax(logits), ascending, by one number in [0, 1) of each token.

    The N points of a comb, all shifted by that number, are looked up in the cumulated distribution. Each id is expected
    N p times, as in independent draws, but comes the whole number below or above: the variance is never larger.
    Source: Douc, Cappé and Moulines, Comparison of Resampling Schemes for Particle Filtering, 2005, systematic.
    """
    sum_TV = logits_TV.double().softmax(-1).cumsum(-1)
    comb_TN = (torch.arange(samples, device=logits_TV.device) + chance_T[:, None]) / samples
    ids_TN = torch.searchsorted(sum_TV, comb_TN * sum_TV[:, -1:], right=True)
    return ids_TN.clamp_(max=logits_TV.shape[1] - 1)  # a point may be rounded up to the end


def sample_teacher_logits(teacher: Teacher, tokens_BS1: Tensor, chance_BS: Tensor, samples: int) -> NDArray[np.void]:
    """Return what a teacher says of windows of a corpus, records [B, S]; only some logits exist at once.

    Raises: ArtefactError if a logit is not finite.
    """
    tokens_BS1 = tokens_BS1.to(teacher.device)
    hidden_TE, targets_T = teacher.hidden(tokens_BS1[:, :-1]).flatten(0, 1), tokens_BS1[:, 1:].flatten()
    chance_T = chance_BS.flatten().to(teacher.device)
    records_T = np.empty(len(targets_T), record_type(teacher.vocab_size, samples))
    start = 0
    for logits_TV, some_T in head_logit_chunks(teacher, hidden_TE, targets_T):
        rows = slice(start, start := start + len(some_T))
        picked_T = logits_TV.gather(1, some_T[:, None]).squeeze(1)
        records_T["nats"][rows] = (logits_TV.logsumexp(1) - picked_T).cpu()
        records_T["samples"][rows] = sample_tokens(logits_TV, chance_T[rows], samples).cpu()
    return records_T.reshape(chance_BS.shape)
