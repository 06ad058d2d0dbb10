"""`baicai export --check`: does the engine say what we say?

Ours continues each prompt greedily; the engine reads the same tokens once, and its logits are compared at every place.
Where its likeliest token is ours at each of them, its own greedy decoding gives the same text.

Shape suffixes: B sequences, S positions, V vocabulary, G leaves, E experts of one leaf.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baicai.convert.cards import read_origin
from baicai.convert.reference_engines import Engine, open_engine
from baicai.errors import ArtefactError
from baicai.inference.generate import generate_batch
from baicai.leaves.model import SparseModel
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.run import Progress

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 200, 24, 16
BATCH = 8
ROUNDING = 1e-4
"""Of the largest logit: how far two correct programs may be apart in 32 bits."""
TIE = 1e-5
"""Routing scores nearer than this are a tie, which rounding decides; what follows may then differ at will."""
TEXTS = ("Hello, world! It's 12:30.", "白菜 costs 3.50 €, naïve café", "def f(x):\n    return x ** 2\n\n", " a  b\tc")


@dataclass(frozen=True)
class Parity:
    """What the comparison found."""

    engine: str
    prompts: int
    equal_prompts: int
    """Prompts whose greedy continuation has the same tokens throughout."""
    tokens: int
    other_tokens: int
    """Greedy tokens that the engine would choose otherwise."""
    max_difference: float
    """Of a logit, over prompts without a tie in a router."""
    mean_difference: float
    """Of a logit, in standard deviations of the logits."""
    ties: int
    """Prompts where two experts or leaves score the same, and rounding decides."""
    problem: str | None
    """Why the export is not the model; None if it is."""


def check_export(folder: Path, model: SparseModel, prompts: int = PROMPTS) -> Parity:
    """Compare an export with the model that it was made of.

    Raises: ArtefactError if it is of another model, MachineError if the engine is not installed.
    """
    origin = read_origin(folder)
    if origin is None or origin.model != model.hash:
        raise ArtefactError(f"{folder} is not an export of model {model.hash[:8]}: export it again")
    with open_engine(folder) as engine:
        problem = _check_ids(engine, model)
        counts = _Counts(engine)
        with Progress("check", prompts) as progress:
            for paths_BS, asked in _paths(model, prompts):
                counts.add(paths_BS, asked, model)
                progress.update(counts.prompts, {"differing": counts.prompts - counts.equal})
        return counts.result(problem)


def _check_ids(engine: Engine, model: SparseModel) -> str | None:
    for text in TEXTS:
        theirs, ours = engine.encode(text), model.tokenizer.encode(text)
        if theirs != ours:
            return f"its tokenizer reads {text!r} as {theirs[:8]}, ours as {ours[:8]}"
    return None


@torch.inference_mode()
def _paths(model: SparseModel, prompts: int) -> Iterator[tuple[Tensor, int]]:
    """Yield prompts with our greedy continuations, [B, S], and the length of the prompts.

    Half of the prompts are from the trunk's public sample, half the model writes itself.
    """
    room = model.network.config.max_tokens
    asked = min(PROMPT_TOKENS, room // 2)
    new = min(NEW_TOKENS, room - asked)
    sample = model.trunk.replay() if model.trunk.card.get("replay") else None
    windows = 0 if sample is None else sample.num_windows(asked)
    first_id = model.tokenizer.begin_ids[-1] if model.tokenizer.begin_ids else model.tokenizer.end_id
    for start in range(0, prompts, BATCH):
        size = min(BATCH, prompts - start)
        if sample is not None and windows and start // BATCH % 2 == 0:
            rows = [sample.window((start + n) * windows // prompts, asked)[:-1] for n in range(size)]
            prompt_BS = torch.stack([torch.from_numpy(row) for row in rows])
        else:
            prompt_BS = generate_batch(model.network, torch.full((size, 1), first_id), asked, seed=start)
        yield torch.cat((prompt_BS, generate_batch(model.network, prompt_BS, new, seed=0, temperature=0)), 1), asked


class _Counts:
    """Adds up what the batches show."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prompts = self.equal = self.tokens = self.other = self.ties = self.wrong = 0
        self.max_difference = self.sum = self.spread = 0.0
        self.batches = 0

    @torch.inference_mode()
    def add(self, paths_BS: Tensor, asked: int, model: SparseModel) -> None:
        trace: list[LayerTrace] = []
        ours_BSV = model.network(paths_BS, trace=trace)
        theirs_BSV = self.engine.logits(paths_BS)[..., : ours_BSV.shape[-1]]
        difference_BS = (theirs_BSV - ours_BSV).abs().amax(-1)
        allowed = ROUNDING * max(1.0, float(ours_BSV.abs().max()))
        tie_T = (routing_gap(model, trace) <= TIE).expand(difference_BS.numel())
        tie_BS = tie_T.view_as(difference_BS).cummax(1).values
        beyond_BS = (difference_BS > allowed) & ~tie_BS
        same_BS = (theirs_BSV.argmax(-1) == ours_BSV.argmax(-1))[:, asked - 1 : -1]
        self.prompts += len(paths_BS)
        self.equal += int(same_BS.all(1).sum())
        self.tokens += same_BS.numel()
        self.other += int((~same_BS).sum())
        self.ties += int(tie_BS.any(1).sum())
        self.wrong += int(beyond_BS.any(1).sum())
        self.max_difference = max(self.max_difference, float(difference_BS.masked_fill(tie_BS, 0).max()))
        self.sum += float((theirs_BSV - ours_BSV).abs().mean() / ours_BSV.std())
        self.batches += 1

    def result(self, problem: str | None) -> Parity:
        mean = self.sum / self.batches
        limit = self.engine.mean_limit
        if problem is None and limit is None and self.wrong:
            problem = (
                f"in {self.wrong} of {self.prompts} prompts its logits are further from ours than rounding explains"
            )
        if problem is None and limit is not None and not mean <= limit:
            problem = f"its logits are off by {mean:.3f} of their spread, its rounding explains {limit}"
        return Parity(
            self.engine.name,
            self.prompts,
            self.equal,
            self.tokens,
            self.other,
            self.max_difference,
            mean,
            self.ties,
            problem,
        )


def routing_gap(model: SparseModel, trace: list[LayerTrace]) -> Tensor:
    """Return, for each token, how near its choice of leaves and experts was to another one in some layer.

    Shape [T], or [1] where there is no choice.
    """
    sizes = model.network.leaf_config
    gaps = []
    leaves = [leaf for leaf in model.network.leaves.values() if isinstance(leaf, Leaf)]
    for number, layer in enumerate(trace):
        assert sizes is not None
        bias_GE = torch.stack([leaf.layer_list()[number].bias_E for leaf in leaves])
        choice_TGE = layer.logits_TGE.sigmoid() + bias_GE
        kept = min(model.topk_group, len(leaves))
        if kept < len(leaves):
            score_TG, order_TG = choice_TGE.topk(min(2, sizes.num_experts), -1).values.sum(-1).sort(descending=True)
            gaps.append(score_TG[:, kept - 1] - score_TG[:, kept])
            choice_TGE = choice_TGE.gather(1, order_TG[:, :kept, None].expand(-1, -1, sizes.num_experts))
        best = choice_TGE.flatten(1).sort(descending=True).values
        chosen = min(sizes.top_k, best.shape[1])
        if chosen < best.shape[1]:
            gaps.append(best[:, chosen - 1] - best[:, chosen])
    return torch.stack(gaps).amin(0) if gaps else torch.tensor([math.inf])
