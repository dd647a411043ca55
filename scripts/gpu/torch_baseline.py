#!/usr/bin/env python3
"""The bar to clear: a plain PyTorch model of the same shape, with random weights, on the same card.

    torch_baseline.py FOLDER [--context N] [--batch N ...]      FOLDER holds a config.json

A static cache, one CUDA graph for each case, cuBLAS for the products and PyTorch's own attention. It is
kinder to PyTorch than a server could be: every sequence has the same length, the cache is cut to that
length ahead of time so that attention needs no mask, and the next token is simply the likeliest.

Prints one JSON object a line: {"case": "decode" | "prefill", "batch", "context", "seconds"}, where
seconds are those of a step, and of the whole prompt.
"""
import argparse
import json
import statistics

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from shape import Shape

REPLAYS = 50


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8, 64])
    arguments = parser.parse_args()
    model = Model(Shape.load(arguments.folder), arguments.context + 1, "cuda", torch.bfloat16)
    with torch.no_grad():
        for batch in arguments.batch:
            report("decode", batch, arguments.context, decoder(model, batch, arguments.context))
        report("prefill", 1, arguments.context, prefiller(model, arguments.context))


def report(case, batch, context, step):
    seconds = replay_s(step)
    print(json.dumps({"case": case, "batch": batch, "context": context, "seconds": seconds}), flush=True)


def decoder(model, batch, context):
    """A step that appends one token to `batch` sequences of `context` tokens."""
    cache = model.new_cache(batch)
    tokens = torch.randint(model.shape.vocab, (batch, 1), device=model.device)
    return lambda: tokens.copy_(model.forward(tokens, cache, context).argmax(-1))


def prefiller(model, context):
    """A step that reads one prompt of `context` tokens."""
    cache = model.new_cache(1)
    tokens = torch.randint(model.shape.vocab, (1, context), device=model.device)
    return lambda: model.forward(tokens, cache, 0).argmax(-1)


def replay_s(step):
    """Median seconds of one replay of `step`, captured as a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    times = []
    for number in range(REPLAYS + 5):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        if number >= 5:
            times.append(began.elapsed_time(ended) / 1e3)
    return statistics.median(times)


class Model:
    """Llama's decoder. Weights lie as `[out, in]`, those that share an input in one matrix."""

    def __init__(self, shape, positions, device, dtype):
        self.shape, self.positions, self.device, self.dtype = shape, positions, device, dtype
        torch.manual_seed(0)
        self.embedding = self.random(shape.vocab, shape.hidden)
        self.layers = [self.new_layer() for _ in range(shape.layers)]
        self.norm = self.random(shape.hidden)
        self.head = self.random(shape.vocab, shape.hidden)
        rates = shape.rope_theta ** -(torch.arange(0, shape.head_dim, 2, device=device) / shape.head_dim)
        angles = torch.arange(positions, device=device)[:, None] * rates
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def random(self, *size):
        return torch.randn(*size, device=self.device, dtype=self.dtype) * 0.02

    def new_layer(self):
        shape = self.shape
        return {
            "norm": self.random(shape.hidden),
            "qkv": self.random(shape.qkv, shape.hidden),
            "out": self.random(shape.hidden, shape.heads * shape.head_dim),
            "mlp_norm": self.random(shape.hidden),
            "gate_up": self.random(2 * shape.inner, shape.hidden),
            "down": self.random(shape.hidden, shape.inner),
        }

    def new_cache(self, batch):
        """Keys and values of each layer, `[batch, kv_heads, positions, head_dim]`, not zero: zeros are fast."""
        size = (batch, self.shape.kv_heads, self.positions, self.shape.head_dim)
        return [(self.random(*size), self.random(*size)) for _ in self.layers]

    def forward(self, tokens, cache, past):
        """Logits of the last of `tokens` `[batch, n]`, which follow `past` tokens: `[batch, 1, vocab]`."""
        x = self.embedding[tokens]
        for layer, kv in zip(self.layers, cache):
            x = x + self.attend(self.normed(x, layer["norm"]), layer, kv, past) @ layer["out"].T
            gate, up = (self.normed(x, layer["mlp_norm"]) @ layer["gate_up"].T).chunk(2, -1)
            x = x + (silu(gate) * up) @ layer["down"].T
        return self.normed(x[:, -1:], self.norm) @ self.head.T

    def attend(self, x, layer, kv, past):
        shape, (batch, count, _) = self.shape, x.shape
        heads = (x @ layer["qkv"].T).view(batch, count, -1, shape.head_dim).transpose(1, 2)
        q, k, v = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), 1)
        here = slice(past, past + count)
        kv[0][:, :, here] = self.turned(k, here)
        kv[1][:, :, here] = v
        keys, values = (side[:, :, : past + count] for side in kv)
        causal = count > 1
        out = scaled_dot_product_attention(self.turned(q, here), keys, values, is_causal=causal, enable_gqa=True)
        return out.transpose(1, 2).reshape(batch, count, -1)

    def turned(self, x, here):
        """Rotary embedding, the halves of a head as the two parts of a complex number."""
        real, imaginary = x.chunk(2, -1)
        cos, sin = self.cos[here], self.sin[here]
        return torch.cat((real * cos - imaginary * sin, imaginary * cos + real * sin), -1)

    def normed(self, x, weight):
        return rms_norm(x, weight.shape, weight, self.shape.norm_eps)


if __name__ == "__main__":
    main()
