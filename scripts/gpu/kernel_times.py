#!/usr/bin/env python3
"""The kernels of a step that take longest, each summed over its launches, from Nsight Compute.

    kernel_times.py LOG.csv      prints the ten largest of what `ncu --csv --metrics gpu__time_duration.sum` logged

Nsight Compute runs one kernel at a time: these are the kernels' own times, without the gaps between
them, so their sum is less than the step.
"""
import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

METRIC = "gpu__time_duration.sum"
OPTIONS = ["--csv", "--metrics", METRIC, "--print-units", "base", "--profile-from-start", "off",
           # The card as it is, and its caches as the kernel before left them.
           "--clock-control", "none", "--cache-control", "none"]
LARGEST = 10


def command(ncu, log, program):
    """Runs `program`, which says itself between which points to measure, and logs into `log`."""
    return [ncu, *OPTIONS, "--log-file", log, *program]


def largest(log):
    """Lines of a table: microseconds, launches, share of all, name."""
    totals, launches = defaultdict(float), defaultdict(int)
    for name, nanoseconds in times(Path(log).read_text(errors="replace").splitlines()):
        totals[name] += nanoseconds
        launches[name] += 1
    whole = sum(totals.values())
    if not whole:
        raise ValueError(f"{log} holds no kernel's {METRIC}")
    order = sorted(totals, key=totals.get, reverse=True)
    lines = [f"{'us':>9} {'share':>6} {'launches':>9}  kernel"]
    lines += [f"{totals[name] / 1e3:9.1f} {totals[name] / whole:6.1%} {launches[name]:9}  {name}"
              for name in order[:LARGEST]]
    return [*lines, f"{whole / 1e3:9.1f} {'100%':>6} {sum(launches.values()):9}  all {len(order)} kernels"]


def times(lines):
    """Name and nanoseconds of each launch; the grid is part of the name, as it tells apart the products that
    one kernel computes. What ncu says beside the table begins with ==."""
    table = [line for line in lines if line.startswith('"')]
    for row in csv.DictReader(table):
        if row["Metric Name"] == METRIC and row["Metric Unit"] in ("ns", "nsecond"):
            name = re.match(r"(?:void )?([\w:]+)", row["Kernel Name"])
            nanoseconds = float(row["Metric Value"].replace(",", ""))
            yield f"{name[1] if name else row['Kernel Name']} {row['Grid Size']}", nanoseconds


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("\n".join(largest(sys.argv[1])))
