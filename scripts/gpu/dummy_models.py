"""Folders of models of the right shape that this card can hold: a config.json, and a tokenizer where one is needed."""
import json
import shutil
from dataclasses import replace
from pathlib import Path

from shape import Shape
from table import LLAMA, MIXTRAL

# The demo's tokenizer goes with the gate's model: random tokens become text that rules read.
DEMO = Path(__file__).resolve().parents[2] / "models/demo/llama"
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
# What is left of a card's memory for caches, activations and what the driver takes.
WEIGHTS_SHARE = 0.85


def mixtral_layers(memory_bytes):
    """As many layers as fit, at least one."""
    shape = Shape.load(MIXTRAL)
    fits = (layers for layers in range(shape.layers, 1, -1)
            if replace(shape, layers=layers).weight_bytes() <= WEIGHTS_SHARE * memory_bytes)
    return next(fits, 1)


def make_mixtral(folder, layers):
    """Mixtral's shape with so many layers."""
    return write_config(folder, {**config(MIXTRAL), "num_hidden_layers": layers})


def make_gated(folder):
    """The 8B shape with the demo's vocabulary, the head being that much smaller: of 8.0 billion weights
    7.0 are left, and a rule that costs something shows a little more."""
    demo = config(DEMO)
    of_tokenizer = {name: demo[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")}
    write_config(folder, {**config(LLAMA), **of_tokenizer})
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO / name, folder)
    return folder


def config(folder):
    return json.loads((folder / "config.json").read_text())


def write_config(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content, indent=1))
    return folder
