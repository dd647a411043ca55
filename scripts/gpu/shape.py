"""What a step of a Llama-shaped model must at least read and compute, from its config.json."""
import json
from dataclasses import dataclass
from pathlib import Path

BYTES = 2  # of a bf16 number


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    rope_theta: float
    norm_eps: float

    @classmethod
    def load(cls, folder):
        raw = json.loads((Path(folder) / "config.json").read_text())
        return cls(
            layers=raw["num_hidden_layers"], hidden=raw["hidden_size"], inner=raw["intermediate_size"],
            heads=raw["num_attention_heads"], kv_heads=raw["num_key_value_heads"],
            head_dim=raw.get("head_dim", raw["hidden_size"] // raw["num_attention_heads"]),
            vocab=raw["vocab_size"], rope_theta=raw["rope_theta"], norm_eps=raw["rms_norm_eps"],
        )

    @property
    def qkv(self):
        """Rows of the product that makes queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def layer_weights(self):
        attention = self.qkv * self.hidden + self.hidden * self.heads * self.head_dim
        return attention + 3 * self.inner * self.hidden + 2 * self.hidden

    def decode_bytes(self, batch, context):
        """Each weight once, and each sequence's keys and values; of the embedding, rows not worth counting."""
        weights = self.layers * self.layer_weights + self.vocab * self.hidden
        kv = 2 * self.layers * self.kv_heads * self.head_dim * batch * context
        return BYTES * (weights + kv)

    def prefill_flops(self, tokens):
        """Two for each weight and token, and attention over half a square; logits of the last token alone."""
        attention = 4 * self.layers * self.heads * self.head_dim * tokens * tokens // 2
        return 2 * self.layers * self.layer_weights * tokens + attention + 2 * self.vocab * self.hidden
