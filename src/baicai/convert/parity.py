"""`baicai export --check`: compare an export, run by its engine, with the model.

The model continues each prompt greedily; the engine reads the same tokens once, and logits are compared at every
position. If the engine's likeliest token is ours at each of them, its own greedy decoding gives the same text.

Shape suffixes: B sequences, S positions, V vocabulary, G leaves, E experts of one leaf.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baicai.convert.cards import read_export_cards
from baicai.convert.reference_engines import ReferenceEngine, open_reference_engine
from baicai.errors import ArtefactError
from baicai.inference.generate import generate_batch
from baicai.leaves.model import SparseModel
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.run import Progress

NUM_PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 200, 24, 16
BATCH = 8
ROUNDING = 1e-4
"""Tolerance in float32, relative to the largest logit."""
TIE = 1e-5
"""Routing scores closer than this are a tie that rounding decides; later logits may then differ arbitrarily."""
TEXTS = ("Hello, world! It's 12:30.", "白菜 costs 3.50 €, naïve café", "def f(x):\n    return x ** 2\n\n", " a  b\tc")


@dataclass(frozen=True)
class Parity:
    """Result of a comparison."""

    engine: str
    """Name and version of the reference engine."""
    prompts: int
    equal_prompts: int
    """Prompts whose greedy continuation is identical."""
    tokens: int
    other_tokens: int
    """Greedy tokens where the engine's choice differs."""
    max_difference: float
    """Maximum difference of a logit, before any routing tie."""
    mean_difference: float
    """Mean difference of a logit, in standard deviations of the logits."""
    ties: int
    """Prompts with a routing tie between experts or leaves."""
    problem: str | None
    """Reason why the export does not match the model; None if it does."""


def check_export(folder: Path, model: SparseModel, prompts: int = NUM_PROMPTS) -> Parity:
    """Compare an export with the model that it was made from.

    Raises: ArtefactError if it was made from another model, MachineError if the engine is not installed.
    """
    origin = read_export_cards(folder)
    if origin is None or origin.model != model.hash:
        raise ArtefactError(f"{folder} is not an export of model {model.hash[:8]}: export it again")
    with open_reference_engine(folder) as engine:
        problem = _check_ids(engine, model)
        counts = _ParityCounts(engine)
        with Progress("check", prompts) as progress:
            for tokens_BS, prompt_tokens in _greedy_sequences(model, prompts):
                counts.add(tokens_BS, prompt_tokens, model)
                progress.update(counts.prompts, {"differing": counts.prompts - counts.equal})
        return counts.result(problem)


def _check_ids(engine: ReferenceEngine, model: SparseModel) -> str | None:
    for text in TEXTS:
        theirs, ours = engine.encode(text), model.tokenizer.encode(text)
        if theirs != ours:
            return f"its tokenizer reads {text!r} as {theirs[:8]}, ours as {ours[:8]}"
    return None


@torch.inference_mode()
def _greedy_sequences(model: SparseModel, prompts: int) -> Iterator[tuple[Tensor, int]]:
    """Yield prompts with our greedy continuations, [B, S], and the length of the prompts.

    Half of the prompts come from the trunk's public sample; the model generates the other half.
    """
    room = model.network.config.max_tokens
    prompt_tokens = min(PROMPT_TOKENS, room // 2)
    new = min(NEW_TOKENS, room - prompt_tokens)
    sample = model.trunk.replay() if model.trunk.card.get("replay") else None
    windows = 0 if sample is None else sample.num_windows(prompt_tokens)
    first_id = model.tokenizer.begin_ids[-1] if model.tokenizer.begin_ids else model.tokenizer.end_id
    for start in range(0, prompts, BATCH):
        size = min(BATCH, prompts - start)
        if sample is not None and windows and start // BATCH % 2 == 0:
            rows = [sample.window((start + n) * windows // prompts, prompt_tokens)[:-1] for n in range(size)]
            prompt_BS = torch.stack([torch.from_numpy(row) for row in rows])
        else:
            prompt_BS = generate_batch(model.network, torch.full((size, 1), first_id), prompt_tokens, seed=start)
        yield (
            torch.cat((prompt_BS, generate_batch(model.network, prompt_BS, new, seed=0, temperature=0)), 1),
            prompt_tokens,
        )


class _ParityCounts:
    """Accumulates differences over batches."""

    def __init__(self, engine: ReferenceEngine) -> None:
        self.engine = engine
        self.prompts = self.equal = self.tokens = self.differing = self.ties = self.wrong = 0
        self.max_difference = self.sum = self.spread = 0.0
        self.batches = 0

    @torch.inference_mode()
    def add(self, tokens_BS: Tensor, prompt_tokens: int, model: SparseModel) -> None:
        trace: list[LayerTrace] = []
        ours_BSV = model.network(tokens_BS, trace=trace)
        theirs_BSV = self.engine.logits(tokens_BS)[..., : ours_BSV.shape[-1]]
        difference_BS = (theirs_BSV - ours_BSV).abs().amax(-1)
        allowed = ROUNDING * max(1.0, float(ours_BSV.abs().max()))
        tie_T = (routing_gap(model, trace) <= TIE).expand(difference_BS.numel())
        tie_BS = tie_T.view_as(difference_BS).cummax(1).values
        beyond_BS = (difference_BS > allowed) & ~tie_BS
        same_BS = (theirs_BSV.argmax(-1) == ours_BSV.argmax(-1))[:, prompt_tokens - 1 : -1]
        self.prompts += len(tokens_BS)
        self.equal += int(same_BS.all(1).sum())
        self.tokens += same_BS.numel()
        self.differing += int((~same_BS).sum())
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
                f"in {self.wrong} of {self.prompts} prompts, its logits differ from ours by more than rounding explains"
            )
        if problem is None and limit is not None and not mean <= limit:
            problem = f"its logits differ by {mean:.3f} standard deviations, but its rounding explains only {limit}"
        return Parity(
            self.engine.name,
            self.prompts,
            self.equal,
            self.tokens,
            self.differing,
            self.max_difference,
            mean,
            self.ties,
            problem,
        )


def routing_gap(model: SparseModel, trace: list[LayerTrace]) -> Tensor:
    """Return the smallest margin of each token's choice of leaves and experts over all layers.

    Returns: [T], or [1] without routing.
    """
    sizes = model.network.leaf_config
    gaps = []
    leaves = [leaf for leaf in model.network.leaves.values() if isinstance(leaf, Leaf)]
    for number, layer in enumerate(trace):
        assert sizes is not None
        bias_GE = torch.stack([leaf.layer_list()[number].bias_E for leaf in leaves])
        choice_TGE = layer.logits_TGE.sigmoid() + bias_GE
        topk_group = min(model.topk_group, len(leaves))
        if topk_group < len(leaves):
            score_TG, order_TG = choice_TGE.topk(min(2, sizes.num_experts), -1).values.sum(-1).sort(descending=True)
            gaps.append(score_TG[:, topk_group - 1] - score_TG[:, topk_group])
            choice_TGE = choice_TGE.gather(1, order_TG[:, :topk_group, None].expand(-1, -1, sizes.num_experts))
        best = choice_TGE.flatten(1).sort(descending=True).values
        chosen = min(sizes.top_k, best.shape[1])
        if chosen < best.shape[1]:
            gaps.append(best[:, chosen - 1] - best[:, chosen])
    return torch.stack(gaps).amin(0) if gaps else torch.tensor([math.inf])
