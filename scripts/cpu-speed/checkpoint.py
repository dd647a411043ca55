"""A Llama of 150 million random weights, for measuring speed: as safetensors and as GGUF.

    python scripts/cpu-speed/checkpoint.py target/cpu-speed

writes f32/ and bf16/, each with config.json, tokenizer.json (that of the demo's model, which knows
fewer tokens), model.safetensors and model.gguf. Embeddings and output are not tied.
"""

import json
import pathlib
import shutil
import sys

import gguf
import torch
from safetensors.torch import save_file

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT = 768, 2048, 16, 12, 4, 32000, 2048
HEAD_DIM = HIDDEN // HEADS
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "vocab_size": VOCAB,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
DEMO = pathlib.Path(__file__).parents[2] / "models/demo/llama"

# Safetensors name, GGUF name, shape.
OUTER = [
    ("model.embed_tokens", "token_embd", (VOCAB, HIDDEN)),
    ("model.norm", "output_norm", (HIDDEN,)),
    ("lm_head", "output", (VOCAB, HIDDEN)),
]
INSIDE_LAYER = [
    ("input_layernorm", "attn_norm", (HIDDEN,)),
    ("self_attn.q_proj", "attn_q", (HIDDEN, HIDDEN)),
    ("self_attn.k_proj", "attn_k", (KV_HEADS * HEAD_DIM, HIDDEN)),
    ("self_attn.v_proj", "attn_v", (KV_HEADS * HEAD_DIM, HIDDEN)),
    ("self_attn.o_proj", "attn_output", (HIDDEN, HIDDEN)),
    ("post_attention_layernorm", "ffn_norm", (HIDDEN,)),
    ("mlp.gate_proj", "ffn_gate", (INNER, HIDDEN)),
    ("mlp.up_proj", "ffn_up", (INNER, HIDDEN)),
    ("mlp.down_proj", "ffn_down", (HIDDEN, INNER)),
]


def main(out):
    weights = random_weights()
    for name, dtype in DTYPES.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CONFIG | {"torch_dtype": str(dtype).removeprefix("torch.")}))
        shutil.copy(DEMO / "tokenizer.json", folder)
        tensors = {f"{hf}.weight": weight.to(dtype) for hf, _, weight in weights}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        write_gguf(folder / "model.gguf", weights, dtype)


def random_weights():
    torch.manual_seed(0)
    names = list(OUTER)
    for layer in range(LAYERS):
        names += [(f"model.layers.{layer}.{hf}", f"blk.{layer}.{gg}", shape) for hf, gg, shape in INSIDE_LAYER]
    return [(hf, gg, torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * 0.02) for hf, gg, shape in names]


def write_gguf(path, weights, dtype):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    for _, name, weight in weights:
        if name.endswith(("attn_q", "attn_k")):
            weight = neighbours_rotated(weight)
        add_tensor(writer, f"{name}.weight", weight, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def neighbours_rotated(weight):
    """GGUF's Llama rotates neighbouring dimensions, the checkpoints of transformers two halves."""
    heads = weight.shape[0] // HEAD_DIM
    halves = weight.reshape(heads, 2, HEAD_DIM // 2, HIDDEN)
    return halves.transpose(1, 2).reshape(weight.shape)


def add_tensor(writer, name, weight, dtype):
    # Norms are f32 in every GGUF.
    if dtype == torch.float32 or weight.dim() == 1:
        return writer.add_tensor(name, weight.numpy())
    narrow = weight.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    writer.add_tensor(name, narrow, raw_dtype=gguf.GGMLQuantizationType.BF16)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
