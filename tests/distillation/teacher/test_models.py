"""Whatever opens, its logits are the engine's own; what cannot teach this student is refused in one line."""

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


def said(teacher: Teacher) -> torch.Tensor:
    return teacher.logits(teacher.hidden(TOKENS))


def test_a_model_teaches_with_all_its_leaves_and_a_trunk_alone(model: SparseModel, tokenizer: Tokenizer) -> None:
    folder = model.trunk.path.parent
    for name in ("model", "trunk"):
        teacher, opened = open_teacher(folder / name, tokenizer, CPU), open_model(folder / name)
        assert teacher.hash == opened.hash
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(CPU)):
            hidden = opened.network.hidden(TOKENS)
        assert torch.equal(said(teacher), opened.network.logits(hidden))
        assert not said(teacher).requires_grad
    assert torch.equal(
        said(open_teacher(model.hash, tokenizer, CPU)), said(open_teacher(folder / "model", tokenizer, CPU))
    )


def test_a_folder_of_transformers_says_what_the_model_does(
    teacher: Teacher, exported: Path, tokenizer: Tokenizer
) -> None:
    other = open_teacher(exported, tokenizer, CPU)
    assert other.hidden(TOKENS).shape[-1] == 32, "the head reads hidden states"
    torch.testing.assert_close(said(other), said(teacher), atol=0.05, rtol=0.05)
    assert other.hash == open_teacher(exported, tokenizer, CPU).hash != teacher.hash
    assert other.max_tokens == teacher.max_tokens == 64


def foreign(folder: Path, family: str, tokenizer: Tokenizer, **sizes: object) -> torch.nn.Module:
    """Another family's network with the student's tokenizer and more rows than that has tokens."""
    pytest.importorskip("transformers", reason="makes the teacher")
    network: torch.nn.Module = checkpoint(folder, family, vocab_size=320, **sizes)
    tokenizer.save(folder)
    return network


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Cohere", "GPTNeoX"])
def test_heads_that_scale_or_cap_are_followed(family: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    sizes = {
        "Gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0},
        "Cohere": {"logit_scale": 0.3},
        "GPTNeoX": {"num_key_value_heads": 4},
    }
    network = foreign(tmp_path / "teacher", family, tokenizer, **sizes.get(family, {}))
    teacher = open_teacher(tmp_path / "teacher", tokenizer, CPU)
    with torch.no_grad():
        torch.testing.assert_close(said(teacher), network(TOKENS).logits[..., : tokenizer.vocab_size])
    plain = family in ("Llama", "GPTNeoX")
    assert teacher.hidden(TOKENS).shape[-1] == (32 if plain else 320)


def test_more_tokens_than_it_takes_are_refused(teacher: Teacher, exported: Path, tokenizer: Tokenizer) -> None:
    for one in (teacher, open_teacher(exported, tokenizer, CPU)):
        with pytest.raises(ConfigError, match="65 tokens do not fit: this model takes at most 64"):
            one.hidden(torch.zeros(1, 65, dtype=torch.int64))
        assert one.generate(TOKENS, 49, seed=0).shape == (2, 49)
        with pytest.raises(ConfigError, match="65 tokens do not fit: this model takes at most 64"):
            one.generate(TOKENS, 50, seed=0)


def goes_on_as_it_says(teacher: Teacher) -> None:
    text = TOKENS
    for _ in range(12):
        text = torch.cat((text, teacher.logits(teacher.hidden(text)[:, -1:]).argmax(-1)), 1)
    assert torch.equal(teacher.generate(TOKENS, 12, seed=0, temperature=0), text[:, 16:])
    before = torch.get_rng_state()
    drawn = teacher.generate(TOKENS, 12, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(teacher.generate(TOKENS, 12, seed=1), drawn)
    assert not torch.equal(teacher.generate(TOKENS, 12, seed=2), drawn)
    assert drawn.max() < teacher.vocab_size


def test_a_model_goes_on_with_a_text(teacher: Teacher, model: SparseModel) -> None:
    goes_on_as_it_says(teacher)
    trunk = open_teacher(model.trunk.path, None, CPU)
    assert not torch.equal(trunk.generate(TOKENS, 12, seed=1), teacher.generate(TOKENS, 12, seed=1)), "leaves are on"


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Rwkv"])
def test_networks_of_transformers_go_on_with_a_text(family: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Whether a network keeps all of the tokens, a window of them, or nothing that has that name."""
    sizes = {"Gemma2": {"head_dim": 8, "sliding_window": 8}, "Rwkv": {"attention_hidden_size": 32}}
    foreign(tmp_path / "teacher", family, tokenizer, **sizes.get(family, {}))
    write_json(tmp_path / "teacher" / "generation_config.json", {"top_k": 1, "max_length": 3, "do_sample": True})
    goes_on_as_it_says(open_teacher(tmp_path / "teacher", tokenizer, CPU))


def test_a_teacher_opens_with_its_own_tokens(model: SparseModel, exported: Path, tokenizer: Tokenizer) -> None:
    for path in (model.trunk.path, exported):
        teacher = open_teacher(path, None, CPU)
        assert teacher.tokenizer.definition == tokenizer.definition
        assert teacher.tokenizer.end_id == tokenizer.end_id
        assert torch.equal(said(teacher), said(open_teacher(path, tokenizer, CPU)))


def test_other_vocabularies_are_refused_by_their_first_token(
    model: SparseModel, exported: Path, tokenizer: Tokenizer
) -> None:
    other = train_tokenizer({"made": [document(n) for n in range(200, 250)]}, vocab_size=290, sample_bytes=10_000)
    for path in (model.trunk.path, exported):
        with pytest.raises(
            ArtefactError, match=r"have different vocabularies: token \d+ is '.+' there, '.+' here; .+signal=seq"
        ):
            open_teacher(path, other, CPU)


def test_a_tokenizer_that_marks_turns_otherwise_is_the_same_vocabulary(
    model: SparseModel, tokenizer: Tokenizer
) -> None:
    marked = Tokenizer(tokenizer.definition, dataclasses.replace(tokenizer.chat, begin="<begin>"))
    assert marked.hash != tokenizer.hash
    teacher = open_teacher(model.trunk.path, marked, CPU)
    assert torch.equal(said(teacher), said(open_teacher(model.trunk.path, tokenizer, CPU)))


def test_what_is_no_teacher_is_one_line(exported: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match=r"has no tokenizer\.json"):
        open_teacher(broken, tokenizer, CPU)
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"tokenizer\.json is no tokenizer"):
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


def test_too_few_rows_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip("transformers", reason="makes the teacher")
    checkpoint(tmp_path / "teacher", "Llama", vocab_size=200)
    tokenizer.save(tmp_path / "teacher")
    with pytest.raises(ArtefactError, match="has 200 logits for 300 tokens"):
        open_teacher(tmp_path / "teacher", tokenizer, CPU)


def test_tensors_that_are_missing_or_not_finite_are_refused(
    exported: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    file = next(broken.glob("*.safetensors"))
    tensors = {name: tensor.clone() for name, tensor in read_tensors(file).items()}
    tensors["model.norm.weight"][0] = float("nan")
    write_tensors(file, tensors)
    teacher = open_teacher(broken, tokenizer, CPU)
    for ask in (said, lambda teacher: teacher.generate(TOKENS, 2, seed=0)):
        with pytest.raises(ArtefactError, match="gives logits that are not finite"):
            ask(teacher)
    del tensors["model.norm.weight"]
    write_tensors(file, tensors)
    with pytest.raises(ArtefactError, match=r"lacks tensor 'model\.norm\.weight': copy it again"):
        open_teacher(broken, tokenizer, CPU)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match="cannot be opened by transformers"):
        open_teacher(broken, tokenizer, CPU)
