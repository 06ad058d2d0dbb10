"""Sampled logits: a few tokens sampled from a teacher's distribution stand for all of it, without bias.

Shape suffixes: B sequences, S positions, T tokens, E width of the head's input, V vocabulary, N samples.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baicai.distillation.measuring.metrics import head_logit_chunks
from baicai.distillation.teacher.models import Teacher


def record_type(vocab_size: int, samples: int) -> np.dtype[np.void]:
    """Return the record of a position: the nats of the real next token, and the sampled ids in ascending order."""
    return np.dtype([("nats", "<f4"), ("samples", "<u2" if vocab_size <= 2**16 else "<u4", (samples,))])


def sample_tokens(logits_TV: Tensor, uniform_T: Tensor, samples: int) -> Tensor:
    """Sample ids from softmax(logits) by systematic resampling, with one uniform number in [0, 1) per row.

    N evenly spaced points, all shifted by that number, are looked up in the cumulative distribution. Each id occurs N p
    times in expectation, as with independent samples, but always N p rounded down or up, so the variance is never
    larger.

    Returns: ids_TN, ascending.
    Source: Douc, Cappé and Moulines, Comparison of Resampling Schemes for Particle Filtering, 2005, systematic.
    """
    cumulative_TV = logits_TV.double().softmax(-1).cumsum(-1)
    points_TN = (torch.arange(samples, device=logits_TV.device) + uniform_T[:, None]) / samples
    ids_TN = torch.searchsorted(cumulative_TV, points_TN * cumulative_TV[:, -1:], right=True)
    return ids_TN.clamp_(max=logits_TV.shape[1] - 1)  # rounding may move a point up to the total


def sample_teacher_logits(teacher: Teacher, tokens_BS1: Tensor, uniform_BS: Tensor, samples: int) -> NDArray[np.void]:
    """Run the teacher on windows of a corpus and return the records [B, S]; logits exist for one chunk at a time.

    `uniform_BS` are the random numbers in [0, 1) for `sample_tokens`.

    Raises: ArtefactError if a logit is not finite.
    """
    tokens_BS1 = tokens_BS1.to(teacher.device)
    hidden_TE, targets_T = teacher.hidden(tokens_BS1[:, :-1]).flatten(0, 1), tokens_BS1[:, 1:].flatten()
    uniform_T = uniform_BS.flatten().to(teacher.device)
    records_T = np.empty(len(targets_T), record_type(teacher.vocab_size, samples))
    start = 0
    for logits_TV, chunk_T in head_logit_chunks(teacher, hidden_TE, targets_T):
        rows = slice(start, start := start + len(chunk_T))
        target_logits_T = logits_TV.gather(1, chunk_T[:, None]).squeeze(1)
        records_T["nats"][rows] = (logits_TV.logsumexp(1) - target_logits_T).cpu()
        records_T["samples"][rows] = sample_tokens(logits_TV, uniform_T[rows], samples).cpu()
    return records_T.reshape(uniform_BS.shape)
