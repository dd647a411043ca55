"""One engine, one dtype: prefill and decoding of random tokens, as JSON on the last line.

    python engines.py transformers|llama.cpp MODEL_DIR f32|bf16 STREAMS CONTEXT STEPS

Each stream gets CONTEXT random tokens in a step of its own, which is timed (the median counts); then
STEPS tokens of all streams are decoded together, the likeliest each. What run.py calls, a process a
measurement, so that nothing is left over from one to the next.
"""

import json
import pathlib
import statistics
import sys
import time

THREADS = 2
WARM_UP_STEPS = 2


def main(engine, folder, dtype, streams, context, steps):
    folder, streams, context, steps = pathlib.Path(folder), int(streams), int(context), int(steps)
    measure = {"transformers": with_transformers, "llama.cpp": with_llama_cpp}[engine]
    prefills, decoding = measure(folder, dtype, streams, context, steps)
    prefill = context / statistics.median(prefills)
    print(json.dumps({"streams": streams, "prefill": prefill, "decode": streams * steps / decoding}))


def prompts(streams, context):
    import random

    numbers = random.Random(0)
    return [[numbers.randrange(3, 32000) for _ in range(context)] for _ in range(streams)]


def with_transformers(folder, dtype, streams, context, steps):
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=kind, attn_implementation="sdpa")
    model.eval()
    cache_of = lambda: transformers.DynamicCache(config=model.config)
    with torch.inference_mode():
        texts = torch.tensor(prompts(streams, context))

        def prefill(text):
            began = time.perf_counter()
            model(input_ids=text[None], past_key_values=cache_of(), logits_to_keep=1).logits.argmax(-1)
            return time.perf_counter() - began

        prefill(texts[0])
        prefills = [prefill(text) for text in texts]
        # All prompts at once: what it costs is not counted.
        cache = cache_of()
        tokens = model(input_ids=texts, past_key_values=cache, logits_to_keep=1).logits[:, -1].argmax(-1)
        for step in range(WARM_UP_STEPS + steps):
            if step == WARM_UP_STEPS:
                began = time.perf_counter()
            tokens = model(input_ids=tokens[:, None], past_key_values=cache).logits[:, -1].argmax(-1)
        return prefills, time.perf_counter() - began


def with_llama_cpp(folder, dtype, streams, context, steps):
    import llama_cpp
    import numpy

    llama_cpp.llama_backend_init()
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, None)
    settings = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(str(folder / "model.gguf").encode(), settings)
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    settings = llama_cpp.llama_context_default_params()
    room = (context + WARM_UP_STEPS + steps + 255) // 256 * 256
    settings.n_ctx = room * streams
    settings.n_batch = settings.n_ubatch = max(512, context)
    settings.n_seq_max = streams
    settings.n_threads = settings.n_threads_batch = THREADS
    # Each sequence has cells of its own: with one pool every token would look at those of all.
    settings.kv_unified = False
    cache_type = {"f32": llama_cpp.GGML_TYPE_F32, "bf16": llama_cpp.GGML_TYPE_F16}[dtype]
    settings.type_k = settings.type_v = cache_type
    state = llama_cpp.llama_init_from_model(model, settings)
    batch = llama_cpp.llama_batch_init(max(context, streams), 0, 1)

    def run(tokens, positions, sequences, wanted):
        """The likeliest next token after each wanted row."""
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, want) in enumerate(zip(tokens, positions, sequences, wanted)):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = want
        began = time.perf_counter()
        assert llama_cpp.llama_decode(state, batch) == 0
        likeliest = []
        for i in (i for i, want in enumerate(wanted) if want):
            logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(state, i), (vocab,))
            likeliest.append(int(logits.argmax()))
        return likeliest, time.perf_counter() - began

    def prefill(sequence, text):
        wanted = [i == context - 1 for i in range(context)]
        return run(text, range(context), [sequence] * context, wanted)

    texts = prompts(streams, context)
    prefill(0, texts[0])
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(state), True)
    done = [prefill(sequence, text) for sequence, text in enumerate(texts)]
    tokens = [likeliest[0] for likeliest, _ in done]
    decoding = 0
    for step in range(WARM_UP_STEPS + steps):
        tokens, seconds = run(tokens, [context + step] * streams, range(streams), [True] * streams)
        decoding += seconds * (step >= WARM_UP_STEPS)
    return [seconds for _, seconds in done], decoding


if __name__ == "__main__":
    main(*sys.argv[1:])
