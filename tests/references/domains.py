"""Reference of `wholesale/domains/classifier.py`: domain scores from the files of a model, in plain Python."""

import json
import math
import re
from collections import Counter
from pathlib import Path

from safetensors.numpy import load_file

from tests.references.rules import is_solo

CHARACTERS = 4000


def terms_of(text: str) -> list[str]:
    """Return words of two or more characters, and single characters and pairs in scripts without spaces."""
    marked = "".join(f" {char} " if is_solo(char) else char for char in text[:CHARACTERS].lower())
    terms = [word for word in re.findall(r"[^\W\d_]\w*", marked) if len(word) > 1]
    runs = "".join(char if is_solo(char) else " " for char in text[:CHARACTERS].lower()).split()
    for run in runs:
        terms += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
    return terms


def scores(folder: Path, text: str) -> list[float]:
    terms = json.loads((folder / "terms.json").read_text())["terms"]
    tensors = load_file(folder / "model.safetensors")
    counts = Counter(terms_of(text))
    weighted = {
        i: (1 + math.log(counts[term])) * float(tensors["idf_T"][i]) for i, term in enumerate(terms) if counts[term]
    }
    length = math.sqrt(sum(value * value for value in weighted.values())) or 1.0
    logits = [
        float(bias) + sum(value / length * float(weights_T[i]) for i, value in weighted.items())
        for weights_T, bias in zip(tensors["weights_DT"], tensors["bias_D"], strict=True)
    ]
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]
