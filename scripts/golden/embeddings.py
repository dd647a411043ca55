"""Golden embeddings from Hugging Face transformers, for tiny seeded BERT checkpoints.

    python -m venv .venv && .venv/bin/pip install -r scripts/golden/requirements.txt
    .venv/bin/python scripts/golden/embeddings.py models/tests/golden-embeddings

Writes for each kind a folder as sentence-transformers has it (config.json, model.safetensors,
tokenizer.json, modules.json, 1_Pooling) and golden.json: texts, their tokens, and their vectors by
transformers on the CPU in f32, each text alone, pooled as sentence-transformers does.
"""

import json
import pathlib
import string
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = SPECIAL + list(string.ascii_lowercase) + [f"##{c}" for c in string.ascii_lowercase] + list("[].,?!") + ["the"]
SHAPE = dict(
    vocab_size=len(VOCAB),
    hidden_size=24,
    intermediate_size=36,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=32,
    attn_implementation="eager",
)
TEXTS = [
    "the cat",
    "The Cat!",
    "a",
    "a longer one, of some words",
    "what is [SEP] here?",
    "ünïcödé and 日本",
    "the the the the the the the the the",
]

KINDS = {
    # As most folders of sentence-transformers are.
    "mean": dict(pooling="mean_tokens", normalised=True, max_seq_length=28, hidden_act="gelu"),
    # Seldom used, all at once: names with a prefix, and norms by their old names.
    "cls": dict(pooling="cls_token", normalised=False, max_seq_length=None, hidden_act="gelu_new"),
}


def make_tokenizer():
    vocab = {token: i for i, token in enumerate(VOCAB)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def write_tokenizer(out):
    tokenizer = make_tokenizer()
    # Cut and filled up as in many folders; a server does neither.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(out / "tokenizer.json"))


def spread(model):
    """Random weights large enough that every part of the model shows in the vectors."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.2)


def old_names(path):
    """As BERT's first checkpoints have them."""
    tensors = load_file(path)
    renamed = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, path)


def write_sentence_files(out, kind):
    module = "sentence_transformers.models."
    modules = [dict(idx=0, name="0", path="", type=module + "Transformer")]
    modules.append(dict(idx=1, name="1", path="1_Pooling", type=module + "Pooling"))
    if kind["normalised"]:
        modules.append(dict(idx=2, name="2", path="2_Normalize", type=module + "Normalize"))
    pooling = dict(word_embedding_dimension=SHAPE["hidden_size"])
    pooling |= {f"pooling_mode_{mode}": mode == kind["pooling"] for mode in ("cls_token", "mean_tokens", "max_tokens")}
    (out / "1_Pooling").mkdir(exist_ok=True)
    write_json(out / "modules.json", modules)
    write_json(out / "1_Pooling" / "config.json", pooling)
    if kind["max_seq_length"]:
        write_json(out / "sentence_bert_config.json", dict(max_seq_length=kind["max_seq_length"], do_lower_case=False))


def embed(model, tokens, kind):
    with torch.no_grad():
        hidden = model(torch.tensor([tokens])).last_hidden_state[0]
    vector = hidden[0] if kind["pooling"] == "cls_token" else hidden.mean(0)
    return torch.nn.functional.normalize(vector, dim=0) if kind["normalised"] else vector


def make(name, kind, out):
    torch.manual_seed(sum(map(ord, name)))
    config = transformers.BertConfig(**SHAPE, hidden_act=kind["hidden_act"])
    model = transformers.BertModel(config, add_pooling_layer=False).to(torch.float32).eval()
    spread(model)
    model.save_pretrained(out)
    write_tokenizer(out)
    write_sentence_files(out, kind)
    if name == "cls":
        old_names(out / "model.safetensors")
    # In a user's text, the name of a control token is text.
    tokenizer = make_tokenizer()
    tokenizer.encode_special_tokens = True
    tokens = [tokenizer.encode(text).ids for text in TEXTS]
    golden = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "texts": TEXTS,
        "tokens": tokens,
        "vectors": [embed(model, ids, kind).tolist() for ids in tokens],
    }
    write_json(out / "golden.json", golden)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {max(map(len, tokens))} tokens at most")


def write_json(path, value):
    path.write_text(json.dumps(value) + "\n")


def main():
    root = pathlib.Path(sys.argv[1])
    for name, kind in KINDS.items():
        out = root / name
        out.mkdir(parents=True, exist_ok=True)
        make(name, kind, out)


if __name__ == "__main__":
    main()
