"""Prefill and decoding on the CPU: Portcullis beside transformers and llama.cpp, the same weights.

    python -m venv .venv
    CMAKE_ARGS=-DGGML_NATIVE=ON .venv/bin/pip install -r scripts/cpu-speed/requirements.txt
    .venv/bin/python scripts/cpu-speed/run.py target/cpu-speed --rounds 3

makes the checkpoint in that folder if it is not there, builds the bench target of Portcullis, and
lets the engines take turns, a process a measurement, on two threads each. It prints a table of
medians, tokens per second, with what each is of Portcullis, and writes all figures to
results.json in the folder.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

HERE = pathlib.Path(__file__).parent
ENGINES = ["portcullis", "transformers", "llama.cpp"]
THREADS = "2"


def main():
    options = parse()
    if not (options.folder / "bf16/model.gguf").exists():
        subprocess.run([sys.executable, HERE / "checkpoint.py", options.folder], check=True)
    bench = options.bench or build()
    results = {}
    for number in range(options.rounds):
        for dtype in options.dtypes.split(","):
            for streams in map(int, options.streams.split(",")):
                for engine in options.engines.split(","):
                    speed = measure(engine, bench, options, dtype, streams)
                    print(f"round {number + 1}: {dtype} x {streams} {engine}: {speed}", file=sys.stderr, flush=True)
                    results.setdefault((dtype, streams, engine), []).append(speed)
                    save(options, results)
    print_table(results)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--streams", default="1,4,16")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--context", default="512", help="tokens of each prompt")
    parser.add_argument("--steps", default="32", help="tokens decoded of each stream")
    parser.add_argument("--bench", type=pathlib.Path, help="a bench target that is built already")
    return parser.parse_args()


def build():
    command = "cargo bench -p portcullis-benches --bench decoder --no-run --message-format json".split()
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE).stdout.splitlines()
    built = [json.loads(line) for line in lines]
    [path] = [it["executable"] for it in built if it.get("target", {}).get("name") == "decoder" and it.get("executable")]
    return path


def measure(engine, bench, options, dtype, streams):
    rest = [options.folder / dtype, dtype, str(streams), options.context, options.steps]
    command = [bench, *rest] if engine == "portcullis" else [sys.executable, HERE / "engines.py", engine, *rest]
    environment = os.environ | {"RAYON_NUM_THREADS": THREADS, "OMP_NUM_THREADS": THREADS}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def save(options, results):
    rows = [dict(dtype=dtype, streams=streams, engine=engine, runs=runs) for (dtype, streams, engine), runs in results.items()]
    head = dict(
        date=datetime.date.today().isoformat(),
        command=sys.argv,
        machine=cpu_name(),
        cores=os.cpu_count(),
        versions={name: version(name) for name in ["torch", "transformers", "llama-cpp-python"]},
    )
    (options.folder / "results.json").write_text(json.dumps(head | {"results": rows}, indent=1))


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def print_table(results):
    """Of prefills only those before one stream: the others prefill the same."""
    median = lambda key, what: statistics.median(run[what] for run in results[key])
    engines = list(dict.fromkeys(engine for _, _, engine in results))
    others = [engine for engine in engines if engine != "portcullis"]
    print("| tokens/s | " + " | ".join(engines) + " | " + " | ".join(f"of {engine}" for engine in others) + " |")
    print("|---" * (1 + len(engines) + len(others)) + "|")
    for dtype, streams in dict.fromkeys((dtype, streams) for dtype, streams, _ in results):
        for what in ["prefill", "decode"] if streams == 1 else ["decode"]:
            figures = {engine: median((dtype, streams, engine), what) for engine in engines}
            ratios = [figures["portcullis"] / figures[engine] for engine in others if "portcullis" in figures]
            name = f"{dtype} prefill" if what == "prefill" else f"{dtype} decode x {streams}"
            cells = [f"{figure:.0f}" for figure in figures.values()] + [f"{ratio:.2f}" for ratio in ratios]
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
