"""Golden logits from Hugging Face transformers, for tiny seeded checkpoints of every family.

    python -m venv .venv && .venv/bin/pip install -r scripts/golden/requirements.txt
    .venv/bin/python scripts/golden/make.py models/tests/golden

Writes for each family a folder with config.json, model.safetensors (f32), golden.json (token ids
and versions) and golden.safetensors (the logits at every position, by transformers on the CPU in
f32).
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

SEQUENCE_LEN = 70
SHAPE = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    attn_implementation="eager",
)
LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
    rope_theta=10_000.0,
)

FAMILIES = {
    "llama2": lambda: transformers.LlamaConfig(**{**SHAPE, "num_key_value_heads": 4}),
    "llama3": lambda: transformers.LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    # Seldom used, all at once: a bias everywhere, and positions divided by a factor.
    "llama-bias": lambda: transformers.LlamaConfig(
        **SHAPE,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10_000.0),
    ),
    # A window shorter than the sequence, so that it matters.
    "mistral": lambda: transformers.MistralConfig(**SHAPE, head_dim=16, sliding_window=24),
    "mixtral": lambda: transformers.MixtralConfig(
        **SHAPE, num_local_experts=4, num_experts_per_tok=2, sliding_window=None
    ),
    "qwen2": lambda: transformers.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=20, max_window_layers=1
    ),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=16),
}


def spread(model):
    """Random weights large enough that every part of the model shows in the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.15)


def make(family, config, out):
    torch.manual_seed(sum(map(ord, family)))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    spread(model)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    tokens = torch.randint(0, config.vocab_size, (1, SEQUENCE_LEN))
    with torch.no_grad():
        logits = model(tokens).logits[0]
    save_file({"logits": logits.contiguous()}, out / "golden.safetensors")
    golden = {"transformers": transformers.__version__, "torch": torch.__version__, "tokens": tokens[0].tolist()}
    (out / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{family}: {sum(p.numel() for p in model.parameters())} parameters, logits up to {logits.abs().max():.2f}")


def main():
    root = pathlib.Path(sys.argv[1])
    for family, config in FAMILIES.items():
        out = root / family
        out.mkdir(parents=True, exist_ok=True)
        make(family, config(), out)


if __name__ == "__main__":
    main()
