# The verbs of the project; `just` lists them.

_default:
    @just --list

# Start the demo: model, rule set, keys and a curl line that works.
serve *ARGS:
    cargo run --release -- serve {{ARGS}}

# Format, lints, layers and licences: what CI asks before it tests.
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    scripts/check-layers
    scripts/check-licences

# The test command of the README.
test:
    cargo test --workspace

# Real clients against the real binary (Python and Node; installs into target/clients).
test-clients:
    tests/clients/run

# Compiles and links the server and its tests with CUDA, on a machine without a GPU; brings nvcc.
cuda-check:
    scripts/cuda-check

# The tests that need an NVIDIA card; without one, says that nothing was tested.
gpu-test:
    scripts/gpu-test

# One archive with all that a machine with a card needs to test and measure this checkout.
gpu-bundle OUT="target/portcullis-gpu.tar.xz":
    scripts/gpu-bundle {{OUT}}

# The fast loops of the CPU in every form that they are compiled in: AVX-512, AVX2, portable.
cpu-forms:
    scripts/cpu-forms

# Shifts indices of the kernels by one, each of which their tests must notice.
kernel-mutants *OPS:
    scripts/kernel-mutants {{OPS}}

# The seeded simulation, longer than in the tests.
sim SCENARIOS="200000":
    PORTCULLIS_SIM_SCENARIOS={{SCENARIOS}} cargo test --release -p portcullis-engine --test simulation

# The gate's property tests, longer than in the tests.
gate-proof CASES="1000000":
    PROPTEST_CASES={{CASES}} cargo test --release -p portcullis-gate

# Ten thousand grammars leave memory bounded; the tests ask a thousand.
grammar-memory GRAMMARS="10000":
    PORTCULLIS_GRAMMARS={{GRAMMARS}} cargo test --release -p portcullis-gate --test grammar_memory -- --nocapture

# Fuzzes what reads what others wrote, each target for so many seconds (needs a C++ compiler).
fuzz SECONDS="60":
    scripts/fuzz all {{SECONDS}}

# Calls per second with records beside none, in pairs.
ledger-overhead:
    cargo build --release
    scripts/ledger-overhead

# Kills the server at random moments, so many times, and reads its ledger.
crash KILLS="3000":
    PORTCULLIS_CRASH_KILLS={{KILLS}} cargo test -p portcullis --test e2e crash -- --nocapture

# What fifty rules cost the demo model: off, observed, enforced, in turns.
gate-overhead:
    cargo run --release -- bench gate --rules benches/rules/fifty.yaml --temperature 1

# Measurements to judge a change by: medians, printed in pairs.
bench:
    cargo bench -p portcullis-benches

# The harness beside guidellm, another client, against one server with known delays (from PyPI, 6 GB).
bench-guidellm:
    scripts/bench-guidellm
