"""The whole of run-on-gpu on a machine without a card: in a bundle whose programs print what real ones do.

    python3 -m unittest discover scripts/gpu
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import dummy_models
import kernel_times
import table

SCRIPTS = Path(__file__).resolve().parent

# An H100 with 80 GB that reaches 80 % of its floor at batch 1, and half of it at batch 8.
SMI = "echo NVIDIA H100 80GB HBM3, 81559, 580.159.04"
FLOORS = ['{"floor": "copy", "bytes_per_s": 3e12}', '{"floor": "product", "flops_per_s": 8e14}']
TORCH = [
    '{"case": "decode", "batch": 1, "context": 1024, "seconds": 0.0075}',
    '{"case": "decode", "batch": 8, "context": 1024, "seconds": 0.010722}',
]
LLAMA = [
    '{"case": "decode", "batch": 1, "context": 1024, "seconds": 0.00631}',
    '{"case": "decode", "batch": 8, "context": 1024, "seconds": 0.010722}',
    '{"case": "decode", "batch": 64, "context": 1024, "seconds": 0.0105}',
    '{"case": "truncated decode", "batch": 64, "context": 1024, "seconds": 0.0108}',
    '{"case": "sampling", "batch": 64, "context": 1024, "seconds": 0.0003}',
    '{"case": "prefill", "batch": 1, "context": 1024, "seconds": 0.03}',
]
GRAPHS = ['{"case": "decode", "batch": 1, "context": 1024, "seconds": 0.00561}']
MIXTRAL = ['{"case": "decode", "batch": 1, "context": 1024, "seconds": 0.01}']
# As `portcullis bench gate` prints it.
GATE = [
    " gate     tokens/s  to off, by round        first held  longest held  attempts  discarded",
    " off      6346.7    1.000 (1.000 to 1.000)  0.20 ms     0.01 ms       1.00      0",
    " observe  6311.4    0.990 (0.914 to 0.992)  0.19 ms     0.02 ms       1.00      0",
    " enforce  6244.1    0.986 (0.912 to 1.466)  91.04 ms    195.44 ms     1.00      26",
]
NCU = '''==PROF== Connected to process 7
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"
"0","7","bench","127.0.0.1","add_rms_norm_bf16","1","13","(256, 1, 1)","(1, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","2,500"
"1","7","bench","127.0.0.1","void gemvx::kernel<int, float>(T1)","1","13","(128, 1, 1)","(14336, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","42,500"
"2","7","bench","127.0.0.1","add_rms_norm_bf16","1","13","(256, 1, 1)","(1, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","2,500"
==PROF== Disconnected
'''


class Bundle:
    """A folder as `scripts/gpu-bundle` makes it, and a machine with a card around it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(SCRIPTS, folder / "scripts/gpu", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(SCRIPTS / "run-on-gpu", folder)
        shutil.copytree(dummy_models.DEMO, folder / "models/demo/llama", ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "VERSION").write_text("portcullis 0123456789ab")
        for crate in ("kernels", "models", "crates/runner"):
            self.program(f"{crate}/test-binaries/corpus", "echo test result: ok. 3 passed; 0 failed; 0 ignored")
        self.program("bin/portcullis", self.prints({"$2": {"gate": GATE}}))
        benched = {"llama-3.1-8b-cuda": LLAMA, "llama-3.1-8b-graphs": GRAPHS, "mixtral-cuda": MIXTRAL}
        self.program("bin/portcullis-gpu-bench", self.prints({"$(basename $1)-$2": benched}))
        self.program("python", self.prints({"$(basename $1)": {"floors.py": FLOORS, "torch_baseline.py": TORCH}}))
        self.program("machine/nvidia-smi", SMI)
        self.program("machine/compute-sanitizer", "true")
        for library in ("cuda.so.1", "cudart.so.13", "cublas.so.13", "cublasLt.so.13", "curand.so.10", "nvrtc.so.13"):
            self.program(f"machine/lib{library}", "")

    @staticmethod
    def prints(cases):
        """A script that prints what the value of a word asks for."""
        [(word, answers)] = cases.items()
        texts = [f"{answer}) cat <<'END'\n" + "\n".join(lines) + "\nEND\n;;" for answer, lines in answers.items()]
        return f'case "{word}" in\n' + "\n".join(texts) + "\nesac"

    def program(self, name, script):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *arguments):
        machine = self.folder / "machine"
        environment = {**os.environ, "PATH": f"{machine}:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(machine),
                       "PORTCULLIS_PYTHON": str(self.folder / "python")}
        command = [sys.executable, self.folder / "run-on-gpu", self.folder / "results", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


class RunOnGpu(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.bundle = Bundle(Path(scratch.name))

    def row(self, told, case):
        rows = [line for line in told.splitlines() if line.startswith(f"{case}  ")]
        self.assertEqual(len(rows), 1, told)
        return rows[0][len(case):].split()

    def test_every_row_has_what_it_must_what_is_aimed_at_and_what_was_measured(self):
        ran = self.bundle.run("--figures")
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        for target in table.TARGETS:
            cells = self.row(ran.stdout, target.case)
            self.assertEqual(cells[:2], [target.shown(target.must), target.shown(target.aim)])
        for case, share, verdict in [
            ("decode, batch 1", "80.0%", "pass"),
            ("decode, batch 1, to PyTorch's graph", "1.189", "pass"),
            ("decode, batch 8", "50.0%", "MISSED"),
            ("decode, batch 64", "74.9%", "pass"),
            ("prefill of 1024", "60.7%", "pass"),
            ("prefill of 8192", "-", "measured"),
            ("Mixtral 8x7B, decode, batch 1", "64.3%", "pass"),
            ("sampling, top-k and top-p, batch 64, at most", "2.8%", "pass"),
            ("50 rules enforced, to none", "98.6%", "pass"),
        ]:
            cells = self.row(ran.stdout, case)
            self.assertEqual((cells[2], cells[-1]), (share, verdict), case)
        self.assertEqual(self.row(ran.stdout, "decode, batch 8")[-2:], ["50.0%", "MISSED"], "PyTorch's share")
        self.assertEqual(self.row(ran.stdout, "decode, batch 1")[-3:], ["90.0%", "67.3%", "pass"], "graphs, PyTorch")
        self.assertIn("Mixtral with 24 of its 32 layers", ran.stdout)

    def test_the_table_is_kept_as_markdown_and_can_be_printed_again(self):
        told = self.bundle.run().stdout
        results = self.bundle.folder / "results"
        markdown = (results / "table.md").read_text()
        self.assertIn("NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.159.04, portcullis 0123456789ab", markdown)
        self.assertIn("| decode, batch 8 | 70.0% | 85.0% | 50.0% |", markdown)
        self.assertIn("3 passed", told)
        command = [sys.executable, SCRIPTS / "table.py", results / "figures.json"]
        again = subprocess.run(command, capture_output=True, text=True)
        self.assertTrue(told.endswith(again.stdout), again.stdout + again.stderr)

    def test_what_a_program_printed_before_it_failed_counts_and_the_failure_too(self):
        self.bundle.program("bin/portcullis-gpu-bench", f"echo '{LLAMA[0]}'\necho '{{\"case\": \"dec'\nexit 3")
        ran = self.bundle.run("--figures")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("FAILED  Portcullis: exit status 3", ran.stdout)
        self.assertEqual(self.row(ran.stdout, "decode, batch 1")[2], "80.0%")
        self.assertEqual(self.row(ran.stdout, "decode, batch 8")[2], "-")

    def test_a_measurement_that_cannot_be_read_costs_no_other(self):
        no_numbers = [line.replace("0.986 (0.912 to 1.466)", "NaN (NaN to NaN)") for line in GATE]
        self.bundle.program("bin/portcullis", Bundle.prints({"$2": {"gate": no_numbers}}))
        broken = {"floors.py": FLOORS, "torch_baseline.py": ["{no JSON}"]}
        self.bundle.program("python", Bundle.prints({"$(basename $1)": broken}))
        ran = self.bundle.run("--figures")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("FAILED  measure_floors: JSONDecodeError", ran.stdout)
        self.assertEqual(self.row(ran.stdout, "50 rules enforced, to none")[2], "-")
        self.assertEqual(self.row(ran.stdout, "Mixtral 8x7B, decode, batch 1")[2], "64.3%")

    def test_a_run_that_is_cut_off_leaves_the_table_of_what_it_has(self):
        # As if the machine went away while the gate is measured.
        self.bundle.program("bin/portcullis", "kill -9 $PPID")
        ran = self.bundle.run("--figures")
        self.assertEqual(ran.returncode, -9)
        markdown = (self.bundle.folder / "results/table.md").read_text()
        self.assertIn("| decode, batch 8 | 70.0% | 85.0% | 50.0% |", markdown)

    def test_without_a_card_nothing_is_said_to_be_tested(self):
        self.bundle.program("machine/nvidia-smi", "exit 9")
        ran = self.bundle.run()
        self.assertEqual(ran.returncode, 77)
        self.assertIn("Nothing was tested", ran.stdout)

    def test_the_largest_kernels_are_listed_where_there_is_a_profiler(self):
        log = '$(echo "$@" | sed "s/.*--log-file \\([^ ]*\\) .*/\\1/")'
        self.bundle.program("machine/ncu", f"cat >{log} <<'END'\n{NCU}END")
        ran = self.bundle.run("--figures")
        self.assertIn("     42.5  89.5%         1  gemvx::kernel (14336, 1, 1)", ran.stdout)
        self.assertIn("      5.0  10.5%         2  add_rms_norm_bf16 (1, 1, 1)", ran.stdout)
        self.assertIn("gemvx::kernel", (self.bundle.folder / "results/table.md").read_text())


class WhatIsMeasured(unittest.TestCase):
    def test_as_many_layers_are_taken_as_the_card_holds(self):
        self.assertEqual(dummy_models.mixtral_layers(143771 << 20), 32)
        self.assertEqual(dummy_models.mixtral_layers(1 << 30), 1)

    def test_the_gates_model_has_the_vocabulary_of_its_tokenizer(self):
        with tempfile.TemporaryDirectory() as folder:
            config = dummy_models.config(dummy_models.make_gated(Path(folder)))
            tokenizer = json.loads(Path(folder, "tokenizer.json").read_text())
        known = tokenizer["model"]["vocab"].values(), (added["id"] for added in tokenizer["added_tokens"])
        self.assertEqual(config["vocab_size"], max(map(max, known)) + 1)
        self.assertEqual(config["hidden_size"], 4096)

    def test_a_floor_counts_the_experts_that_a_batch_reads(self):
        shape = table.Shape.load(table.MIXTRAL)
        self.assertEqual(shape.distinct_experts(1), 2)
        self.assertAlmostEqual(shape.distinct_experts(8), 8 * (1 - 0.75**8))
        self.assertAlmostEqual(shape.decode_bytes(1, 1024) / 1e9, 25.6, places=1)

    def test_a_profile_without_kernels_is_no_profile(self):
        with tempfile.NamedTemporaryFile("w") as log, self.assertRaises(ValueError):
            kernel_times.largest(log.name)


if __name__ == "__main__":
    unittest.main()
