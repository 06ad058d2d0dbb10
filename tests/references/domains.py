"""Slow twin of `wholesale/domain_model.py`: a text's domains from a model's files, in plain Python."""

import json
import math
import re
from collections import Counter
from pathlib import Path

from safetensors.numpy import load_file

from tests.references.rules import is_solo

CHARACTERS = 4000


def terms_of(text: str) -> list[str]:
    """Of letters alone: words of two or more, and characters and pairs of scripts without spaces."""
    marked = "".join(f" {one} " if is_solo(one) else one for one in text[:CHARACTERS].lower())
    terms = [word for word in re.findall(r"[^\W\d_]\w*", marked) if len(word) > 1]
    runs = "".join(one if is_solo(one) else " " for one in text[:CHARACTERS].lower()).split()
    for run in runs:
        terms += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
    return terms


def scores(folder: Path, text: str) -> list[float]:
    terms = json.loads((folder / "terms.json").read_text())["terms"]
    tensors = load_file(folder / "model.safetensors")
    counts = Counter(terms_of(text))
    weighed = {
        at: (1 + math.log(counts[term])) * float(tensors["idf_T"][at]) for at, term in enumerate(terms) if counts[term]
    }
    length = math.sqrt(sum(value * value for value in weighed.values())) or 1.0
    logits = [
        float(bias) + sum(value / length * float(weights_T[at]) for at, value in weighed.items())
        for weights_T, bias in zip(tensors["weights_DT"], tensors["bias_D"], strict=True)
    ]
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]
