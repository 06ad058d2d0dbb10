"""Teachers of all kinds predict like their networks; unusable ones are rejected with one line."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from baicai.artefact import read_tensors, write_json, write_tensors
from baicai.data.tokenizer import Tokenizer, train_tokenizer
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.model import SparseModel, open_model
from baicai.model.layers import has_fast_bfloat16
from tests.convert.checkpoints import checkpoint
from tests.data.texts import document
from tests.distillation.conftest import CPU

TOKENS = torch.randint(300, (2, 16), generator=torch.Generator().manual_seed(0))


def logits_of(teacher: Teacher) -> torch.Tensor:
    return teacher.logits(teacher.hidden(TOKENS))


def test_teacher_is_a_model_with_all_its_leaves_or_a_trunk(model: SparseModel, tokenizer: Tokenizer) -> None:
    folder = model.trunk.path.parent
    for name in ("model", "trunk"):
        teacher, opened = open_teacher(folder / name, tokenizer, CPU), open_model(folder / name)
        assert teacher.hash == opened.hash
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(CPU)):
            hidden = opened.network.hidden(TOKENS)
        assert torch.equal(logits_of(teacher), opened.network.logits(hidden))
        assert not logits_of(teacher).requires_grad
    assert torch.equal(
        logits_of(open_teacher(model.hash, tokenizer, CPU)), logits_of(open_teacher(folder / "model", tokenizer, CPU))
    )


def test_exported_teacher_predicts_like_the_model(teacher: Teacher, exported: Path, tokenizer: Tokenizer) -> None:
    other = open_teacher(exported, tokenizer, CPU)
    assert other.hidden(TOKENS).shape[-1] == 32, "it has a plain head"
    torch.testing.assert_close(logits_of(other), logits_of(teacher), atol=0.05, rtol=0.05)
    assert other.hash == open_teacher(exported, tokenizer, CPU).hash != teacher.hash
    assert other.max_tokens == teacher.max_tokens == 64


def foreign(folder: Path, family: str, tokenizer: Tokenizer, **sizes: object) -> torch.nn.Module:
    """Write a network of another family with the student's tokenizer and more rows than it has tokens."""
    pytest.importorskip("transformers", reason="makes the teacher")
    network: torch.nn.Module = checkpoint(folder, family, vocab_size=320, **sizes)
    tokenizer.save(folder)
    return network


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Cohere", "GPTNeoX"])
def test_heads_that_scale_or_cap_logits_are_supported(family: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    sizes = {
        "Gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0},
        "Cohere": {"logit_scale": 0.3},
        "GPTNeoX": {"num_key_value_heads": 4},
    }
    network = foreign(tmp_path / "teacher", family, tokenizer, **sizes.get(family, {}))
    teacher = open_teacher(tmp_path / "teacher", tokenizer, CPU)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(teacher), network(TOKENS).logits[..., : tokenizer.vocab_size])
    plain = family in ("Llama", "GPTNeoX")
    assert teacher.hidden(TOKENS).shape[-1] == (32 if plain else 320)


def test_sequences_beyond_the_context_are_rejected(teacher: Teacher, exported: Path, tokenizer: Tokenizer) -> None:
    for opened in (teacher, open_teacher(exported, tokenizer, CPU)):
        with pytest.raises(ConfigError, match="65 tokens do not fit: this model takes at most 64"):
            opened.hidden(torch.zeros(1, 65, dtype=torch.int64))
        assert opened.generate(TOKENS, 49, seed=0).shape == (2, 49)
        with pytest.raises(ConfigError, match="65 tokens do not fit: this model takes at most 64"):
            opened.generate(TOKENS, 50, seed=0)


def check_generation(teacher: Teacher) -> None:
    text = TOKENS
    for _ in range(12):
        text = torch.cat((text, teacher.logits(teacher.hidden(text)[:, -1:]).argmax(-1)), 1)
    assert torch.equal(teacher.generate(TOKENS, 12, seed=0, temperature=0), text[:, 16:])
    before = torch.get_rng_state()
    sampled = teacher.generate(TOKENS, 12, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(teacher.generate(TOKENS, 12, seed=1), sampled)
    assert not torch.equal(teacher.generate(TOKENS, 12, seed=2), sampled)
    assert sampled.max() < teacher.vocab_size


def test_model_generates_as_it_predicts(teacher: Teacher, model: SparseModel) -> None:
    check_generation(teacher)
    trunk = open_teacher(model.trunk.path, None, CPU)
    assert not torch.equal(trunk.generate(TOKENS, 12, seed=1), teacher.generate(TOKENS, 12, seed=1)), (
        "its leaves are active"
    )


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Rwkv"])
def test_transformers_networks_generate_as_they_predict(family: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """For networks with a full KV cache, a sliding window, and no KV cache."""
    sizes = {"Gemma2": {"head_dim": 8, "sliding_window": 8}, "Rwkv": {"attention_hidden_size": 32}}
    foreign(tmp_path / "teacher", family, tokenizer, **sizes.get(family, {}))
    write_json(tmp_path / "teacher" / "generation_config.json", {"top_k": 1, "max_length": 3, "do_sample": True})
    check_generation(open_teacher(tmp_path / "teacher", tokenizer, CPU))


def test_teacher_opens_with_its_own_tokenizer(model: SparseModel, exported: Path, tokenizer: Tokenizer) -> None:
    for path in (model.trunk.path, exported):
        teacher = open_teacher(path, None, CPU)
        assert teacher.tokenizer.definition == tokenizer.definition
        assert teacher.tokenizer.end_id == tokenizer.end_id
        assert torch.equal(logits_of(teacher), logits_of(open_teacher(path, tokenizer, CPU)))


def test_error_names_the_first_difference_of_vocabularies(
    model: SparseModel, exported: Path, tokenizer: Tokenizer
) -> None:
    other = train_tokenizer({"made": [document(n) for n in range(200, 250)]}, vocab_size=290, sample_bytes=10_000)
    for path in (model.trunk.path, exported):
        with pytest.raises(
            ArtefactError, match=r"different vocabularies: token \d+ is '.+' for the teacher and '.+' for .+signal=seq"
        ):
            open_teacher(path, other, CPU)


def test_tokenizer_with_other_chat_markers_has_the_same_vocabulary(model: SparseModel, tokenizer: Tokenizer) -> None:
    marked = Tokenizer(tokenizer.definition, dataclasses.replace(tokenizer.chat, begin="<begin>"))
    assert marked.hash != tokenizer.hash
    teacher = open_teacher(model.trunk.path, marked, CPU)
    assert torch.equal(logits_of(teacher), logits_of(open_teacher(model.trunk.path, tokenizer, CPU)))


def test_invalid_teacher_is_one_line(exported: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match=r"has no tokenizer\.json"):
        open_teacher(broken, tokenizer, CPU)
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"tokenizer\.json is not a tokenizer"):
        open_teacher(broken, tokenizer, CPU)
    tokenizer.save(broken)
    config = json.loads((broken / "config.json").read_text())
    write_json(broken / "config.json", {**config, "model_type": "unheard-of"})
    with pytest.raises(ArtefactError, match="cannot be opened by transformers"):
        open_teacher(broken, tokenizer, CPU)
    write_json(broken / "config.json", config)
    for file in broken.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(ArtefactError, match="cannot be opened by transformers"):
        open_teacher(broken, tokenizer, CPU)


def test_too_few_logits_are_rejected(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip("transformers", reason="makes the teacher")
    checkpoint(tmp_path / "teacher", "Llama", vocab_size=200)
    tokenizer.save(tmp_path / "teacher")
    with pytest.raises(ArtefactError, match="has 200 logits, but its tokenizer has 300 tokens"):
        open_teacher(tmp_path / "teacher", tokenizer, CPU)


def test_missing_or_infinite_tensors_are_rejected(exported: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    file = next(broken.glob("*.safetensors"))
    tensors = {name: tensor.clone() for name, tensor in read_tensors(file).items()}
    tensors["model.norm.weight"][0] = float("nan")
    write_tensors(file, tensors)
    teacher = open_teacher(broken, tokenizer, CPU)
    for compute in (logits_of, lambda teacher: teacher.generate(TOKENS, 2, seed=0)):
        with pytest.raises(ArtefactError, match="produces logits that are not finite"):
            compute(teacher)
    del tensors["model.norm.weight"]
    write_tensors(file, tensors)
    with pytest.raises(ArtefactError, match=r"lacks tensor 'model\.norm\.weight': copy it again"):
        open_teacher(broken, tokenizer, CPU)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match="cannot be opened by transformers"):
        open_teacher(broken, tokenizer, CPU)
