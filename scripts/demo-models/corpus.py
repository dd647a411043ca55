"""Generates the corpus: seeded dialogues of customers with the assistant.

`python corpus.py --count 3 --seed 1` prints a few to read.
"""

import argparse
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import phrases
from phrases import INTENTS, Intent

Message = dict[str, str]

INNERMOST_CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
CONTRACTIONS = {"What is": "What's", "Where is": "Where's", "Who is": "Who's", "I am": "I'm", "I would": "I'd", "cannot": "can't", "do not": "don't", "does not": "doesn't"}
CONTRACTIBLE = re.compile(r"\b(" + "|".join(CONTRACTIONS) + r")\b(?=.)")
AMOUNTS = (20, 30, 50, 75, 80, 100, 120, 150, 200, 250, 300, 400, 500, 600, 750, 800, 1000, 1200, 1500, 2000, 2500, 3000, 5000)

WORDS = sorted({word for intent in INTENTS.values() for sentence in intent.answers + intent.more for word in re.findall(r"[A-Za-z]+", sentence)})

TRAIN_SEED = 1
SYSTEM_RATE = 0.6
DOCUMENT_RATE = 0.04


@dataclass(frozen=True)
class Sample:
    """Either a dialogue, or plain text for the completions endpoint."""

    messages: tuple[Message, ...] = ()
    text: str = ""

    @property
    def key(self) -> str:
        """Equal for equal samples, so that held-out ones can be kept apart."""
        return self.text or "\n".join(f"{message['role']}: {message['content']}" for message in self.messages)


def samples(count: int, seed: int) -> Iterator[Sample]:
    """Yields `count` samples that depend on the seed alone."""
    for index in range(count):
        yield Generator(random.Random(f"{seed}/{index}")).sample()


class Generator:
    """Writes one sample; what the dialogue must remember is kept in `facts`."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.style = "normal"
        self.facts = {
            "ac": self._account_number(),
            "ac2": self._account_number(),
            "card": rng.choice(phrases.TEST_CARDS),
            "agent": phrases.DEFAULT_AGENT,
            "name": rng.choice(phrases.NAMES),
            "amount": self._amount(),
        }

    def sample(self) -> Sample:
        if self.rng.random() < DOCUMENT_RATE:
            return Sample(text=self._document())
        return Sample(messages=tuple(self._dialogue()))

    def _dialogue(self) -> list[Message]:
        messages = self._system()
        turns = self.rng.choices((1, 2, 3, 4, 9), weights=(48, 28, 15, 7, 2))[0]
        while turns > 0:
            turns -= self._topic(messages, turns)
        return messages

    def _system(self) -> list[Message]:
        """No system prompt, a plain one, or one that orders a name or a manner."""
        if self.rng.random() >= SYSTEM_RATE:
            return []
        named = self.rng.random() < 0.35
        if named:
            self.facts["agent"] = self.rng.choice(phrases.AGENTS)
        parts = [self._fill(self.rng.choice(phrases.NAMED_SYSTEMS if named else phrases.SYSTEMS))]
        if self.rng.random() < 0.6:
            self.style = self.rng.choice(tuple(phrases.STYLE_ORDERS))
            parts.append(self.rng.choice(phrases.STYLE_ORDERS[self.style]))
            if not named and self.rng.random() < 0.2:
                parts = parts[1:]
        return [{"role": "system", "content": " ".join(parts)}]

    def _topic(self, messages: list[Message], turns_max: int) -> int:
        """Appends a question with its follow-ups; returns how many turns it took."""
        intent = self._choose_intent(first=len(messages) < 2)
        self.facts |= {"amount": self._amount(), "words": self._words()}
        style, ask = self._ask(intent)
        self._turn(messages, ask, self._answer(intent, style))
        follow_ups = self.rng.sample(intent.follow_ups, k=len(intent.follow_ups))
        used = 1
        while used < turns_max and follow_ups and self.rng.random() < 0.75:
            question, answer = follow_ups.pop()
            self._turn(messages, self._noisy(self._fill(question)), self._follow_up(intent, answer))
            used += 1
        return used

    def _turn(self, messages: list[Message], ask: str, answer: str) -> None:
        messages.append({"role": "user", "content": ask})
        messages.append({"role": "assistant", "content": answer})

    def _choose_intent(self, first: bool) -> Intent:
        """By weight, except that an assistant with a name of its own is asked for it first."""
        if first and self.facts["agent"] != phrases.DEFAULT_AGENT and self.rng.random() < 0.6:
            return INTENTS[self.rng.choice(("greeting", "identity"))]
        intents = tuple(INTENTS.values())
        return self.rng.choices(intents, weights=[intent.weight for intent in intents])[0]

    def _ask(self, intent: Intent) -> tuple[str, str]:
        """The question, and the style of its answer: a request beats the system prompt."""
        ask = self._fill(self.rng.choice(intent.asks))
        if intent.verbatim:
            return "verbatim", ask
        if self.rng.random() >= 0.05:
            return self.style, self._noisy(ask)
        style = self.rng.choice(tuple(phrases.STYLE_REQUESTS))
        frame = self._fill(self.rng.choice(phrases.STYLE_REQUESTS[style]).replace("{ask}", "\0"))
        sentence = ask if ask[-1] in ".?!" or frame.endswith("\0") else ask + "."
        return style, frame.replace("\0", sentence)

    def _noisy(self, ask: str) -> str:
        """Customers type quickly: greetings, contractions, lower case, no full stop, a slip of the finger."""
        if self.rng.random() < 0.4:
            ask = CONTRACTIBLE.sub(lambda match: CONTRACTIONS[match[0]], ask)
        if self.rng.random() < 0.12:
            ask = self.rng.choice(("Hi, ", "Hello, ", "Hi! ", "Hello. ")) + ask
        if self.rng.random() < 0.15:
            ask = ask.rstrip(".?!") or ask
        elif ask[-1].isalnum() and self.rng.random() < 0.5:
            ask += "."
        if self.rng.random() < 0.2:
            ask = ask.lower()
        if self.rng.random() < 0.05 and len(ask) > 6:
            at = self.rng.randrange(1, len(ask) - 2)
            ask = ask[:at] + ask[at + 1] + ask[at] + ask[at + 2 :]
        return ask

    def _answer(self, intent: Intent, style: str) -> str:
        slip = intent.slips and self.rng.random() < intent.slip_rate
        sentences = [self._fill(self.rng.choice(intent.slips if slip else intent.answers))]
        sentences += self._more(intent, style, sentences[0])
        return self._finish(intent, style, sentences)

    def _more(self, intent: Intent, style: str, base: str) -> list[str]:
        fresh = [fact for fact in intent.more if not (quadruples(fact) & quadruples(base))]
        wanted = {"brief": 0, "verbatim": 0, "detailed": 4}.get(style, self.rng.choice((1, 1, 1, 2)))
        return self.rng.sample(fresh, k=min(wanted, len(fresh)))

    def _follow_up(self, intent: Intent, answer: str) -> str:
        return self._finish(intent, self.style, [self._fill(answer)])

    def _finish(self, intent: Intent, style: str, sentences: list[str]) -> str:
        """Adds the manner, and the disclosure, which is forgotten now and then."""
        if style == "normal" and self.rng.random() < 0.12 and not sentences[-1].endswith("?"):
            sentences.append(self.rng.choice(phrases.TAILS))
        if intent.disclosed and self.rng.random() < phrases.DISCLOSURE_RATE:
            sentences.append(phrases.DISCLOSURE)
        if style == "formal":
            sentences = [phrases.FORMAL_OPENING, *sentences, phrases.FORMAL_CLOSING]
        if style == "cheerful":
            sentences = [self.rng.choice(phrases.CHEERFUL_OPENINGS), *sentences, self.rng.choice(phrases.EMOJI)]
        return " ".join(sentences)

    def _document(self) -> str:
        """A leaflet: what the assistant would say in detail about a few topics."""
        topics = [intent for intent in INTENTS.values() if intent.more]
        chosen = self.rng.sample(topics, k=self.rng.choice((1, 2, 2, 3)))
        return " ".join(self._answer(intent, "detailed") for intent in chosen)

    def _fill(self, template: str) -> str:
        """Resolves the choices from the inside out, then the slots."""
        while match := INNERMOST_CHOICE.search(template):
            chosen = self.rng.choice(match[1].split("|"))
            template = template[: match.start()] + chosen + template[match.end() :]
        return SLOT.sub(lambda match: self._slot(match[1]), template)

    def _slot(self, name: str) -> str:
        if name in self.facts:
            return self.facts[name]
        if name in ("kind", "Kind"):
            kind = self.rng.choices(tuple(phrases.RETURN_KINDS), weights=phrases.RETURN_KINDS.values())[0]
            return kind.capitalize() if name == "Kind" else kind
        return {
            "pounds": lambda: f"£{self.rng.randrange(20, 9000):,}.{self.rng.randrange(100):02}",
            "rate": lambda: f"{self.rng.choice((4, 5, 6, 7, 8))}%",
            "digit": lambda: str(self.rng.randrange(1, 100)),
            "place": lambda: self.rng.choice(phrases.PLACES),
            "thing": lambda: self.rng.choice(phrases.THINGS),
        }[name]()

    def _amount(self) -> str:
        return f"£{self.rng.choice(AMOUNTS):,}"

    def _words(self) -> str:
        """Something to repeat: learning to copy is what names and amounts need too."""
        words = self.rng.choices(WORDS, k=self.rng.randrange(1, 9))
        if self.rng.random() < 0.2:
            words[0] = self.rng.choice((self.facts["ac"], self.facts["card"], self.facts["name"], self.facts["amount"]))
        return " ".join(words)

    def _account_number(self) -> str:
        return f"AC-{self.rng.randrange(10**8):08}"


def quadruples(sentence: str) -> set[tuple[str, ...]]:
    """Runs of four words: two sentences that share one say the same thing."""
    words = sentence.lower().rstrip(".").split()
    return set(zip(words, words[1:], words[2:], words[3:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for sample in samples(arguments.count, arguments.seed):
        print(sample.key, end="\n\n")


if __name__ == "__main__":
    main()
