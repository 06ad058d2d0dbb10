"""A tiny workshop that the tests share: a trunk and two leaves, made by the real stages in a few seconds."""

import dataclasses
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.data.sources import SourceConfig
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.run import Run, run_stage
from baicai.training.config import TrainConfig

WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "quince", "grape", "melon", "fig", "peach", "lemon"],
    "metal": ["iron", "copper", "zinc", "nickel", "cobalt", "silver", "gold", "lead", "tin", "chrome"],
    "public": ["the", "of", "and", "a", "to", "in", "is", "that", "it", "was", "for", "on", "are", "as", "with"],
}


def write_domain(folder: Path, domain: str, sentences: int = 400, seed: int = 0) -> Path:
    """Write sentences of a domain's words to a file, in which each word is followed by one of two."""
    draw, words = random.Random(f"{domain} {seed}"), WORDS[domain]
    lines = []
    for _ in range(sentences):
        at = draw.randrange(len(words))
        line = []
        for _ in range(draw.randint(6, 14)):
            line.append(words[at])
            at = (at * 2 + draw.randint(1, 2)) % len(words)
        lines.append(" ".join(line) + ".")
    path = folder / f"{domain}.txt"
    path.write_text("\n".join(lines))
    return path


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Paths of the artefacts that were made."""

    folder: Path

    def text(self, domain: str) -> SourceConfig:
        return SourceConfig(path=str(self.folder / f"{domain}.txt"), domain=domain, licence="CC0-1.0")

    def path(self, name: str) -> str:
        return str(self.folder / name)


TRAIN = TrainConfig(
    tokens=120 * 8 * 32, batch_sequences=8, sequence_tokens=32, learning_rate=2e-2, log_steps=5, dtype="float32"
)
"""In float32, so that results hardly depend on the machine."""
SIZES = ModelConfig(
    vocab_size=320,
    dim=32,
    num_layers=3,
    ffn_dim=64,
    max_tokens=64,
    attention=GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True),
)
LEAF = LeafConfig(first_layer=1, num_experts=4, expert_dim=16, top_k=2)


def grow_recipe(workshop: Workshop, domain: str, **changes: object) -> GrowRecipe:
    trunk, data = workshop.path("trunk"), [workshop.text(domain)]
    recipe = GrowRecipe(name=domain, trunk=trunk, data=data, public_share=0.6, leaf=LEAF, train=TRAIN)
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def start_stage(stage: Callable[[Any, Run], None], recipe: object, out: Path) -> BaseProcess:
    """Run a stage in a process that can be killed."""
    return start_process(_run_stage, stage, recipe, out)


def start_process(target: Callable[..., None], *args: object) -> BaseProcess:
    """Start a process that can be killed, with the stages already imported."""
    context = multiprocessing.get_context("forkserver")
    stages = (
        "leaves.train_trunk",
        "leaves.grow",
        "leaves.evaluate",
        "leaves.calibrate",
        "distillation.distill",
        "convert.importer",
    )
    context.set_forkserver_preload([f"baicai.{name}" for name in stages])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def _run_stage(stage: Callable[[Any, Run], None], recipe: object, out: Path) -> None:
    torch.set_num_threads(1)
    run_stage(stage, recipe, out)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep tests away from the user's home folder, and do not print progress."""
    folder = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    torch.set_num_threads(1)
    os.environ |= {"BAICAI_HOME": str(folder), "BAICAI_QUIET": "1"}
    yield folder
    os.environ.clear()
    os.environ |= before


@pytest.fixture(scope="session")
def workshop(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    shop = Workshop(tmp_path_factory.mktemp("workshop"))
    for domain in WORDS:
        write_domain(shop.folder, domain)
    texts = [shop.text(domain) for domain in WORDS]
    out = shop.folder / "tokenizer"
    run_stage(make_tokenizer, TokenizerRecipe(data=texts, vocab_size=320), out)
    public = [dataclasses.replace(text, weight=8.0 if text.domain == "public" else 1.0) for text in texts]
    recipe = TrunkRecipe(tokenizer=str(out), data=public, model=SIZES, train=TRAIN, replay_tokens=2000)
    run_stage(train_trunk, recipe, shop.folder / "trunk")
    for name in ("fruit", "metal"):
        run_stage(grow_leaf, grow_recipe(shop, name), shop.folder / name)
    join = JoinRecipe(trunk=shop.path("trunk"), leaves=[shop.path("fruit"), shop.path("metal")])
    run_stage(join_leaves, join, shop.folder / "model")
    return shop
