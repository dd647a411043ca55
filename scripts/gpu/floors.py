#!/usr/bin/env python3
"""What this card can do at best: a copy in its memory and a large product, as PyTorch does them.

    floors.py       one JSON object a line, in bytes and operations a second
"""
import json
import statistics

import torch

GIB = 1 << 30
SIDE = 8192
ROUNDS = 20


def main():
    torch.manual_seed(0)
    print(json.dumps({"floor": "copy", "bytes_per_s": copy_bytes_per_s()}))
    print(json.dumps({"floor": "product", "flops_per_s": product_flops_per_s()}))


def copy_bytes_per_s():
    """Bytes read and written, by a copy far larger than any cache."""
    source = torch.empty(2 * GIB, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / median_s(lambda: target.copy_(source))


def product_flops_per_s():
    """Of random numbers: zeros draw less power, and are faster than anything real."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * SIDE**3 / median_s(lambda: left @ right)


def median_s(work):
    """Seconds that `work` takes on the card, the median of some rounds after a few untimed ones."""
    times = []
    for number in range(ROUNDS + 3):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        ended.synchronize()
        if number >= 3:
            times.append(began.elapsed_time(ended) / 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
