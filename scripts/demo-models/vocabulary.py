"""Tokenizers and chat templates, in the two shapes that open models come in.

`llama` is byte-level BPE with Llama 3's special tokens and headers; `mixtral`
is SentencePiece style, with a normaliser and byte fallback, and Mistral's
`[INST]` turns. Both encode and decode any script without loss.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from corpus import Sample

VOCAB_SIZE = 1280
CONTEXT_TOKENS_MAX = 2048

LLAMA_SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|reserved_special_token_2|>",
)
MIXTRAL_SPECIALS = ("<unk>", "<s>", "</s>")

# Llama 3's own pattern, but digits stand alone: a small model counts better so.
LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Tools are shown and called as Llama 3.1 has them. The demo model has not learnt to call any: it
# does where a call is forced.
LLAMA_TEMPLATE = (
    "{{- bos_token }}"
    "{%- if tools %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{- 'To call a function, answer with {\"name\": function name, \"parameters\": dictionary of arguments}.' }}"
    "{%- for tool in tools %}{{- '\n' + tool['function'] | tojson }}{%- endfor %}"
    "{{- '<|eot_id|>' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- set role = 'ipython' if message['role'] == 'tool' else message['role'] %}"
    "{{- '<|start_header_id|>' + role + '<|end_header_id|>\n\n' + message['content'] | trim }}"
    "{%- for call in message['tool_calls'] or [] %}"
    "{{- '; ' if not loop.first }}"
    "{{- '{\"name\": \"' + call['function']['name'] + '\", \"parameters\": ' }}"
    "{{- call['function']['arguments'] | tojson + '}' }}"
    "{%- endfor %}"
    "{{- '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}"
)
MIXTRAL_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system = messages[0]['content'].strip() + '\n\n' %}{%- set turns = messages[1:] %}"
    "{%- else %}{%- set system = '' %}{%- set turns = messages %}{%- endif %}"
    "{{- bos_token }}"
    "{%- for message in turns %}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{%- endif %}"
    "{%- if message['role'] == 'user' %}"
    "{{- '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}"
    "{%- else %}"
    "{{- ' ' + message['content'].strip() + eos_token }}"
    "{%- endif %}"
    "{%- endfor %}"
)


class LlamaFormat:
    """Byte-level BPE, one header a message, `<|eot_id|>` at its end."""

    template = LLAMA_TEMPLATE
    bos, eos, pad = "<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>"
    stops = ("<|end_of_text|>", "<|eot_id|>")

    def render(self, sample: Sample) -> tuple[str, list[tuple[int, int]]]:
        """The text of a sample, and the character spans that the model is to learn."""
        if sample.text:
            return spans([(self.bos, False), (f"{sample.text}<|end_of_text|>", True)])
        pieces = [(self.bos, False)]
        for message in sample.messages:
            pieces.append((f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n", False))
            pieces.append((f"{message['content']}<|eot_id|>", message["role"] == "assistant"))
        return spans(pieces)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE(ignore_merges=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE - len(LLAMA_SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator((f"\n\n{text}" for text in texts), trainer)
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in LLAMA_SPECIALS])
        tokenizer.post_processor = bos_first(tokenizer, self.bos)
        return tokenizer


class MixtralFormat:
    """SentencePiece style: spaces become `▁`, rare characters fall back to bytes."""

    template = MIXTRAL_TEMPLATE
    bos, eos, pad = "<s>", "</s>", "</s>"
    stops = ("</s>",)

    def render(self, sample: Sample) -> tuple[str, list[tuple[int, int]]]:
        """The text of a sample, and the character spans that the model is to learn."""
        if sample.text:
            return spans([(self.bos, False), (f"{sample.text}</s>", True)])
        pieces, system = [(self.bos, False)], ""
        for message in sample.messages:
            if message["role"] == "system":
                system = f"{message['content']}\n\n"
            elif message["role"] == "user":
                pieces.append((f"[INST] {system}{message['content']} [/INST]", False))
                system = ""
            else:
                pieces.append((f" {message['content']}</s>", True))
        return spans(pieces)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        pieces = self._pieces(texts)
        learned = json.loads(pieces.to_str())["model"]
        tokens = [*MIXTRAL_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
        tokens += sorted(learned["vocab"], key=learned["vocab"].get)
        tokenizer = Tokenizer(models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        ))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ])
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in MIXTRAL_SPECIALS])
        tokenizer.post_processor = bos_first(tokenizer, self.bos)
        return tokenizer

    def _pieces(self, texts: Iterable[str]) -> Tokenizer:
        """Learns merges inside words only, so that encoding needs no pre-tokenizer."""
        pieces = Tokenizer(models.BPE())
        pieces.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
        ])
        printable = [chr(code) for code in range(0x21, 0x7F)] + ["£", "▁"]
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE - len(MIXTRAL_SPECIALS) - 256,
            initial_alphabet=printable,
            limit_alphabet=len(printable),
            show_progress=False,
        )
        known = str.maketrans({"\n": " "})
        pieces.train_from_iterator(("".join(c for c in text.translate(known) if c == " " or c in printable) for text in texts), trainer)
        return pieces


FORMATS = {"llama": LlamaFormat(), "mixtral": MixtralFormat()}


def spans(pieces: list[tuple[str, bool]]) -> tuple[str, list[tuple[int, int]]]:
    """Joins the pieces; the spans of those marked are counted in characters."""
    text, marked = "", []
    for piece, learned in pieces:
        if learned:
            marked.append((len(text), len(text) + len(piece)))
        text += piece
    return text, marked


def bos_first(tokenizer: Tokenizer, bos: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])


def plain_texts(samples: Iterable[Sample]) -> Iterable[str]:
    """What a tokenizer is trained on: messages and documents, and the words of the templates."""
    for sample in samples:
        yield from [sample.text] if sample.text else (message["content"] for message in sample.messages)
        yield from ("[INST] [/INST]", "system", "user", "assistant")


def save_tokenizer(tokenizer: Tokenizer, name: str, folder: Path) -> None:
    """Writes tokenizer.json and the two small files that transformers reads beside it."""
    shape = FORMATS[name]
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": shape.bos, "eos_token": shape.eos, "pad_token": shape.pad}
    if name == "mixtral":
        special["unk_token"] = "<unk>"
    added = json.loads(tokenizer.to_str())["added_tokens"]
    config = special | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONTEXT_TOKENS_MAX,
        "clean_up_tokenization_spaces": False,
        "chat_template": shape.template,
        "added_tokens_decoder": {str(token.pop("id")): token for token in added},
    }
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", config)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
