"""Small random checkpoints in transformers' format, with tokenizers in the styles of the families."""

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = [
    "The quick brown fox jumps over the lazy dog.",
    "Wie geht es Ihnen? 白菜 is 12 yuan.",
    "def f(x):\n    return x",
] * 9
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
VOCAB = 400


def byte_level(folder: Path, style: str, template: str | None) -> None:
    """Write a byte-level tokenizer in the style of Qwen or of Llama 3."""
    specials = {
        "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    }[style]
    bpe = tokenizers.Tokenizer(models.BPE(ignore_merges=style == "llama3"))
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN if style == "qwen" else LLAMA3), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    bpe.normalizer = normalizers.NFC() if style == "qwen" else None
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCAB - 8, initial_alphabet=alphabet))
    bpe.add_special_tokens(specials)
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    settings["eos_token"] = specials[0] if style == "qwen" else "<|eot_id|>"
    if style == "llama3":
        begin = specials[0]
        settings["bos_token"] = begin
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, bpe.token_to_id(begin))]
        )
    _write(folder, json.loads(bpe.to_str()), settings)


def sentence_piece(folder: Path, style: str, template: str | None) -> None:
    """Write a tokenizer in SentencePiece's style: a space before each text ("legacy") or before the first alone."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    bpe.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCAB - 280))
    trained = json.loads(bpe.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *trained["vocab"]]
    bpe = tokenizers.Tokenizer(
        models.BPE(
            {name: n for n, name in enumerate(names)},
            [tuple(pair) for pair in trained["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if style == "legacy":
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    bpe.decoder = decoders.Sequence(steps)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    bpe.add_special_tokens(["<unk>", "<s>", "</s>"])
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    _write(folder, json.loads(bpe.to_str()), {**settings, "unk_token": "<unk>", "chat_template": template})


def _write(folder: Path, definition: dict[str, Any], settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def checkpoint(folder: Path, family: str, *, shard: str = "5GB", dtype: str = "float32", **changes: Any) -> Any:
    """Write a random checkpoint of a family, norms and biases random too, and return transformers' own network."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = getattr(transformers, f"{family}Config")(**(SIZES | changes))
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=0.15)
    network.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return network
