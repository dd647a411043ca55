"""lm-eval's numbers by way of the server, against those of transformers on the same weights.

Both backends print what they find, and every printed figure must be the same. So must the
log-likelihood of every choice, but for the order of sums in f32: accuracies alone forgive much.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))
from serving import ROOT, Server  # noqa: E402

MODEL = ROOT / "models" / "demo" / "llama"
TASK = "quillmere"
# Left to themselves the two backends disagree: `hf` begins a text with the model's BOS, `local-completions` does not.
BOS = "add_bos_token=True"
# f32 sums in another order: what two right implementations may differ by, in nats for a whole text.
TOLERANCE_NATS = 1e-3


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        theirs = evaluate(folder / "hf", "hf", f"pretrained={MODEL},dtype=float32,{BOS}", "--device", "cpu")
        # Served by its folder, the model has no rule set; under one, log-probabilities are not told.
        server = Server(folder, "--model", MODEL, "--deployment", "demo")
        try:
            ours = evaluate_server(folder / "ours", server)
        finally:
            assert server.stop() == 0, server.output()
    print(theirs["table"], ours["table"], sep="\n")
    figures = [row(result["table"]) for result in (theirs, ours)]
    worst = max(abs(a - b) for a, b in zip(theirs["likelihoods"], ours["likelihoods"], strict=True))
    print(f"{len(ours['likelihoods'])} log-likelihoods; the furthest two are {worst:.2e} nats apart")
    assert figures[0] == figures[1], "the printed figures differ"
    assert worst <= TOLERANCE_NATS, "the log-likelihoods differ"


def evaluate_server(folder, server):
    key = server.create_key("inference", "lm-eval")["key"]
    where = f"base_url={server.url}/v1/completions,model=demo,tokenizer={MODEL},tokenizer_backend=huggingface,{BOS}"
    return evaluate(folder, "local-completions", f"{where},num_concurrent=4,max_retries=1", key=key)


def evaluate(folder, model, arguments, *further, key=""):
    """The table that lm-eval prints, and the log-likelihood of each choice."""
    command = ["lm-eval", "run", "--model", model, "--model_args", arguments, "--include_path", str(FOLDER)]
    where = ["--tasks", TASK, "--output_path", str(folder), "--log_samples"]
    told = {"OPENAI_API_KEY": key, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    # The task names its data by a path beside it.
    done = subprocess.run([*command, *where, *further], cwd=FOLDER, env=os.environ | told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (samples,) = folder.rglob("samples_*.jsonl")
    lines = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda sample: sample["doc_id"])
    likelihoods = [float(choice[0]) for sample in lines for choice in sample["filtered_resps"]]
    table = "".join(f"{line}\n" for line in done.stdout.splitlines() if line.startswith("|"))
    return {"table": table, "likelihoods": likelihoods}


def row(table):
    """The figures, without the name of the backend, which is not in the table."""
    return [line.split("|")[5:] for line in table.splitlines()[2:]]


if __name__ == "__main__":
    main()
