"""Trains one bundled demo model and writes it in the Hugging Face layout.

`python train.py --model llama --out ../../models/demo/llama`

Everything that is random comes from seeds, so that the same machine makes the
same files again; the tokens of each step do not depend on the clock.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import card
from corpus import TRAIN_SEED, Sample, samples
from vocabulary import CONTEXT_TOKENS_MAX, FORMATS, VOCAB_SIZE, plain_texts, save_tokenizer, write_json

BATCH_TOKENS = 2048
IGNORED = -100

CONFIGS = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    },
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.02,
        "output_router_logits": False,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
}
COMMON = {
    "vocab_size": VOCAB_SIZE,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT_TOKENS_MAX,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}


@dataclass(frozen=True)
class Example:
    """Token ids, and the labels: the same ids where the model is to learn them."""

    ids: list[int]
    labels: list[int]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    train_samples = list(samples(arguments.samples, TRAIN_SEED))
    tokenizer = FORMATS[arguments.model].train(plain_texts(train_samples[:8000]))
    save_tokenizer(tokenizer, arguments.model, arguments.out)
    config = write_config(arguments.model, tokenizer, arguments.out)

    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    examples = encode(train_samples, arguments.model, tokenizer)
    tokens = fit(model, batches(examples, arguments.seed), arguments.steps)
    save_model(model, arguments.out)

    minutes = (time.monotonic() - started) / 60
    run = card.Run(arguments.model, arguments.samples, arguments.steps, tokens, minutes, arguments.threads, arguments.seed)
    card.write(arguments.out, run)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(CONFIGS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def write_config(name: str, tokenizer, folder: Path) -> AutoConfig:
    """Writes config.json in the classic spelling, which every loader reads."""
    shape = FORMATS[name]
    stops = [tokenizer.token_to_id(token) for token in shape.stops]
    ids = {
        "bos_token_id": tokenizer.token_to_id(shape.bos),
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": tokenizer.token_to_id(shape.pad),
    }
    write_json(folder / "config.json", CONFIGS[name] | COMMON | ids)
    write_json(folder / "generation_config.json", ids | {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 256})
    return AutoConfig.from_pretrained(folder)


def encode(chosen: list[Sample], name: str, tokenizer) -> list[Example]:
    rendered = [FORMATS[name].render(sample) for sample in chosen]
    encodings = tokenizer.encode_batch([text for text, _ in rendered], add_special_tokens=False)
    return [example(encoding, learned) for encoding, (_, learned) in zip(encodings, rendered, strict=True)]


def example(encoding, learned: list[tuple[int, int]]) -> Example:
    """Labels the tokens that lie in a learned span: what the assistant says, and its end."""
    labels = [
        token if any(start <= offset[0] and offset[1] <= end for start, end in learned) else IGNORED
        for token, offset in zip(encoding.ids, encoding.offsets, strict=True)
    ]
    return Example(encoding.ids, labels)


def batches(examples: list[Example], seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of about BATCH_TOKENS, each of examples of like length.

    Padding stands on the right, where causal attention never sees it, so that
    no mask is needed.
    """
    rng = random.Random(seed)
    while True:
        order = sorted(examples, key=lambda one: len(one.ids) + rng.random() * 16)
        groups = list(grouped(order))
        rng.shuffle(groups)
        yield from map(padded, groups)


def grouped(order: list[Example]) -> Iterator[list[Example]]:
    group: list[Example] = []
    for one in order:
        if group and len(one.ids) * (len(group) + 1) > BATCH_TOKENS:
            yield group
            group = []
        group.append(one)


def padded(group: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(one.ids) for one in group)
    ids = [one.ids + [0] * (width - len(one.ids)) for one in group]
    labels = [one.labels + [IGNORED] * (width - len(one.labels)) for one in group]
    return torch.tensor(ids), torch.tensor(labels)


def fit(model: PreTrainedModel, stream: Iterator, steps: int) -> int:
    """Trains for `steps`; returns the number of tokens seen."""
    matrices, others = split_parameters(model)
    optimisers = [Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: rate_factor(step, steps)) for one in optimisers]
    tokens, started = 0, time.monotonic()
    for step in range(1, steps + 1):
        ids, labels = next(stream)
        loss = train_step(model, ids, labels)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimisers, *schedules):
            part.step()
        model.zero_grad(set_to_none=True)
        tokens += ids.numel()
        if step % 50 == 0:
            print(f"step {step} loss {loss:.4f} tokens {tokens} seconds {time.monotonic() - started:.0f}", flush=True)
    return tokens


def train_step(model: PreTrainedModel, ids: torch.Tensor, labels: torch.Tensor) -> float:
    """One forward and backward pass in bfloat16; returns the loss without the router's."""
    routed = model.config.model_type == "mixtral"
    with torch.autocast("cpu", torch.bfloat16):
        output = model(ids, use_cache=False, **({"output_router_logits": True} if routed else {}))
    logits = output.logits[:, :-1].float()
    loss = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    balance = model.config.router_aux_loss_coef * output.aux_loss if routed else 0.0
    (loss + balance).backward()
    return loss.item()


def split_parameters(model: PreTrainedModel) -> tuple[list, list]:
    """Hidden matrices (and stacks of them) go to Muon, the rest to AdamW."""
    hidden = {name for name, value in model.named_parameters() if value.ndim >= 2 and not any(part in name for part in ("embed", "lm_head", "gate.weight"))}
    named = dict(model.named_parameters())
    return [named[name] for name in named if name in hidden], [named[name] for name in named if name not in hidden]


def rate_factor(step: int, steps: int) -> float:
    """A short warm-up, then constant, then linearly to nothing over the last half."""
    return min(1.0, (step + 1) / 40, 2.0 * (steps - step) / steps)


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal by Newton-Schulz: few tokens go a long way.

    Written here because experts are stacks of matrices, which torch's own
    version refuses. Source: Jordan et al., https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, parameters: list, lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                direction = orthogonal(parameter.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
                parameter.add_(direction, alpha=-group["lr"] * scale)


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """The nearest orthogonal matrix, roughly, of the last two dimensions."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).to(matrix.dtype)


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Writes model.safetensors alone: the configuration is already there, in the classic spelling."""
    config = (folder / "config.json").read_bytes()
    generation = (folder / "generation_config.json").read_bytes()
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "config.json").write_bytes(config)
    (folder / "generation_config.json").write_bytes(generation)


if __name__ == "__main__":
    main()
