#!/usr/bin/env python3
"""The table of what a card reaches: what it must, what is aimed at, what was measured.

    table.py FIGURES.json       prints the table of figures that `run-on-gpu` recorded

What must be reached stands in TARGETS and nowhere else; DEFINITIONS says what the shares are.
"""
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from shape import Shape

FOLDER = Path(__file__).resolve().parent
LLAMA, MIXTRAL = FOLDER / "llama-3.1-8b", FOLDER / "mixtral-8x7b"
OURS = "Portcullis"
CONTEXT = 1024
PREFILLS = [1024, 2048, 4096, 8192]


@dataclass(frozen=True)
class Measured:
    """A share, what it was measured as, and what would have been a share of one; the share with CUDA graphs, and
    PyTorch's."""
    share: float
    figure: str
    best: str = ""
    graphs: float | None = None
    torch: float | None = None


@dataclass(frozen=True)
class Target:
    case: str
    must: float
    aim: float | None
    measure: Callable[["Figures"], Measured | None]
    # Small shares are the good ones.
    at_most: bool = False
    # In per cent, or else times.
    percent: bool = True

    def reaches(self, share, bound):
        return share <= bound if self.at_most else share >= bound

    def verdict(self, found):
        if found is None:
            return "not measured"
        if not self.reaches(found.share, self.must):
            return "MISSED"
        return "aim" if self.aim is not None and self.reaches(found.share, self.aim) else "pass"

    def shown(self, share):
        if share is None:
            return "-"
        return f"{share:.1%}" if self.percent else f"{share:.3f}"

    def row(self, figures):
        found = self.measure(figures)
        told = ["-"] * 5
        if found:
            told = [self.shown(found.share), found.figure, found.best, self.shown(found.graphs), self.shown(found.torch)]
        return [self.case, self.shown(self.must), self.shown(self.aim), *told, self.verdict(found)]


DEFINITIONS = [
    "The verdict is of the server as it is shipped, without CUDA graphs.",
    "Decode: the bytes of a step at the copy's bandwidth, over its time. Of Mixtral's experts those that so many "
    "rows are expected to ask: 8 (1 - 0.75^batch) of each layer.",
    "Prefill: its operations at the product's rate, over its time; a prompt in one step.",
    "Sampling: from logits on the card to tokens on the host, with upload and way back, over the time of a decode "
    "that draws so; top-k 50 and top-p 0.9.",
    "The gate: `portcullis bench gate`, 64 requests at once of 64 tokens and 128 more; released tokens/s, the median "
    "of the ratios of five rounds; the same shape with the demo's vocabulary of 1,280.",
]

HEADS = ["case", "must", "aim", "measured", "as", "at best", "with graphs", "PyTorch", "verdict"]

TARGETS = [
    Target("decode, batch 1", 0.70, 0.88, lambda it: it.decode(1)),
    Target("decode, batch 1, to PyTorch's graph", 1.10, None, lambda it: it.beside_torch(1), percent=False),
    Target("decode, batch 8", 0.70, 0.85, lambda it: it.decode(8)),
    Target("decode, batch 64", 0.65, 0.82, lambda it: it.decode(64)),
    *(Target(f"prefill of {tokens}", 0.50, 0.65, lambda it, tokens=tokens: it.prefill(tokens))
      for tokens in PREFILLS),
    Target("Mixtral 8x7B, decode, batch 1", 0.60, 0.82, lambda it: it.mixtral(1)),
    Target("Mixtral 8x7B, decode, batch 8", 0.60, 0.82, lambda it: it.mixtral(8)),
    Target("sampling, top-k and top-p, batch 64, at most", 0.04, 0.02, lambda it: it.sampling(64), at_most=True),
    Target("50 rules enforced, to none", 0.97, 0.99, lambda it: it.gate()),
]


class Figures:
    """What was recorded: {"date", "card", "commit", "mixtral_layers", "figures": [{"of", ...}]}."""

    def __init__(self, recorded):
        self.recorded = recorded
        floors = {figure["floor"]: figure for figure in self.all_of("floor")}
        self.copy = floors.get("copy", {}).get("bytes_per_s")
        self.product = floors.get("product", {}).get("flops_per_s")

    def all_of(self, of):
        return [figure for figure in self.recorded["figures"] if figure["of"] == of]

    def seconds(self, of, case, batch, context):
        for figure in self.all_of(of):
            if (figure["case"], figure["batch"], figure["context"]) == (case, batch, context):
                return figure["seconds"]
        return None

    def mixtral_shape(self):
        shape = Shape.load(MIXTRAL)
        return replace(shape, layers=self.recorded.get("mixtral_layers") or shape.layers)

    def decode(self, batch):
        if self.copy is None:
            return None
        best_s = Shape.load(LLAMA).decode_bytes(batch, CONTEXT) / self.copy
        return self.timed("decode", batch, CONTEXT, batch, best_s)

    def mixtral(self, batch):
        if self.copy is None:
            return None
        best_s = self.mixtral_shape().decode_bytes(batch, CONTEXT) / self.copy
        return self.timed("decode", batch, CONTEXT, batch, best_s, of="Mixtral", others=(None, None))

    def prefill(self, tokens):
        if self.product is None:
            return None
        return self.timed("prefill", 1, tokens, tokens, Shape.load(LLAMA).prefill_flops(tokens) / self.product)

    def timed(self, case, batch, context, tokens, best_s, of=OURS, others=("graphs", "PyTorch")):
        seconds = self.seconds(of, case, batch, context)
        if seconds is None:
            return None
        others_s = (self.seconds(other, case, batch, context) for other in others)
        shares = (other_s and best_s / other_s for other_s in others_s)
        return Measured(best_s / seconds, speed(seconds, tokens), speed(best_s, tokens), *shares)

    def beside_torch(self, batch):
        ours, torch = (self.seconds(of, "decode", batch, CONTEXT) for of in (OURS, "PyTorch"))
        if ours is None or torch is None:
            return None
        return Measured(torch / ours, f"{1e3 * ours:.2f} ms", f"PyTorch {1e3 * torch:.2f} ms")

    def sampling(self, batch):
        alone, step = (self.seconds(OURS, case, batch, CONTEXT) for case in ("sampling", "truncated decode"))
        if alone is None or step is None:
            return None
        return Measured(alone / step, f"{1e6 * alone:.0f} us of {1e3 * step:.2f} ms")

    def gate(self):
        for figure in self.all_of("gate"):
            return Measured(figure["ratio"], f"rounds of {figure['least']:.1%} to {figure['most']:.1%}",
                            f"{figure['off_tokens_per_s']:.0f} tokens/s without")
        return None

    def title(self):
        recorded = self.recorded
        return f"{recorded['date']}, {recorded['card']}, {recorded['commit']}"

    def notes(self):
        """What the shares are of, and what was not as usual."""
        notes = ["Llama-3.1-8B's shape in bf16, random weights, a context of 1,024 unless said otherwise."]
        if self.copy and self.product:
            notes.append(f"Copy {self.copy / 1e12:.2f} TB/s, product of 8192 x 8192 bf16 matrices "
                         f"{self.product / 1e12:.0f} TFLOP/s, in the same run.")
        else:
            notes.append("The card's own bandwidth and rate were not measured: no shares of them are told.")
        notes += DEFINITIONS
        layers, all_layers = self.mixtral_shape().layers, Shape.load(MIXTRAL).layers
        if layers < all_layers:
            notes.append(f"Mixtral with {layers} of its {all_layers} layers, which this card's memory holds.")
        missed = sum(target.verdict(target.measure(self)) == "MISSED" for target in TARGETS)
        absent = sum(target.measure(self) is None for target in TARGETS)
        notes.append(f"{missed} of {len(TARGETS)} missed, {absent} not measured.")
        return notes


def speed(seconds, tokens):
    return f"{1e3 * seconds:.2f} ms, {tokens / seconds:.0f} tokens/s"


def text(recorded):
    """The table for a terminal."""
    figures = Figures(recorded)
    rows = [HEADS, *(target.row(figures) for target in TARGETS)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([figures.title(), "", *lines, "", *figures.notes()])


def markdown(recorded):
    """The same for docs/benchmarks.md."""
    figures = Figures(recorded)
    rows = [HEADS, ["---"] * len(HEADS), *(target.row(figures) for target in TARGETS)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"On {figures.title()}:", "", *lines, "", *(f"- {note}" for note in figures.notes()), ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(text(json.loads(Path(sys.argv[1]).read_text())))
