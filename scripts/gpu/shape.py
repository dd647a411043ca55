"""What a step of a Llama- or Mixtral-shaped model must at least read and compute, from its config.json."""
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
    experts: int = 1
    experts_per_token: int = 1

    @classmethod
    def load(cls, folder):
        raw = json.loads((Path(folder) / "config.json").read_text())
        return cls(
            layers=raw["num_hidden_layers"], hidden=raw["hidden_size"], inner=raw["intermediate_size"],
            heads=raw["num_attention_heads"], kv_heads=raw["num_key_value_heads"],
            head_dim=raw.get("head_dim", raw["hidden_size"] // raw["num_attention_heads"]),
            vocab=raw["vocab_size"], rope_theta=raw["rope_theta"], norm_eps=raw["rms_norm_eps"],
            experts=raw.get("num_local_experts", 1), experts_per_token=raw.get("num_experts_per_tok", 1),
        )

    @property
    def qkv(self):
        """Rows of the product that makes queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    def layer_weights(self, experts):
        """Weights of a layer of which so many experts are counted; a dense model has one."""
        attention = self.qkv * self.hidden + self.hidden * self.heads * self.head_dim
        router = self.experts * self.hidden if self.experts > 1 else 0
        return attention + router + experts * 3 * self.inner * self.hidden + 2 * self.hidden

    def distinct_experts(self, tokens):
        """How many of a layer's experts `tokens` read, expected: each token picks k of the E, all as likely
        and independent of the others, so an expert is passed over by one with 1 - k/E, by all with that
        to the power of their number. Random weights route so; a trained router is a little less even."""
        return self.experts * (1 - (1 - self.experts_per_token / self.experts) ** tokens)

    def weight_bytes(self):
        """All of them, embedding and head included."""
        return BYTES * (self.layers * self.layer_weights(self.experts) + 2 * self.vocab * self.hidden)

    def decode_bytes(self, batch, context):
        """Each weight once, of the experts those that are expected to be asked, and each sequence's keys and
        values; of the embedding, rows not worth counting."""
        weights = self.layers * self.layer_weights(self.distinct_experts(batch)) + self.vocab * self.hidden
        kv = 2 * self.layers * self.kv_heads * self.head_dim * batch * context
        return BYTES * (weights + kv)

    def prefill_flops(self, tokens):
        """Two for each weight and token, and attention over half a square; logits of the last token alone."""
        attention = 4 * self.layers * self.heads * self.head_dim * tokens * tokens // 2
        weights = self.layers * self.layer_weights(self.experts_per_token)
        return 2 * weights * tokens + attention + 2 * self.vocab * self.hidden
