"""Tokens and semantic positions of a filled template.

A mention of a name may be several tokens long. Its semantic position is its
last token, the first place where the whole name has been read; S1+1 is the
token after that. Positions are found by the characters of each slot, never by
a fixed index.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from transformers import PreTrainedTokenizerBase

from circuitgen.errors import InputError, NotCovered
from circuitgen.prompts.conditions import Template, is_name_slot

__all__ = ["Encoder", "Prompt", "fill_template"]


@dataclass(frozen=True)
class Prompt:
    """One prompt, tokenised, with everything that identifies it.

    Attributes:
        tokens: Token ids, BOS included where the model is declared with it.
        positions: Index of each semantic position: IO, S1, S1+1, S2, END, and
            IO2, S3, C1 … where the template has them.
        words: What fills each slot.
        io_token: First token of the name to predict.
        s_token: First token of the repeated name.
        base_number: Which prompt of the base set has the same words, for a
            prompt that was drawn and not written to align with another.
    """

    text: str
    tokens: tuple[int, ...]
    positions: Mapping[str, int]
    words: Mapping[str, str]
    template: str
    order: str
    io_token: int
    s_token: int
    base_number: int | None = None

    @property
    def io(self) -> str:
        """The name to predict."""
        return self.words["IO"]

    @property
    def s(self) -> str:
        """The repeated name."""
        return self.words["S1"]

    @property
    def layout(self) -> tuple[str, str, tuple[tuple[str, int], ...]]:
        """Template, order and positions: prompts that agree in it align token by token."""
        return self.template, self.order, tuple(self.positions.items())

    def marked(self) -> str:
        """The text with each mention followed by its semantic position in brackets."""
        spans = sorted(self._mentions.items(), key=lambda item: item[1], reverse=True)
        text = self.text
        for slot, end in spans:
            text = f"{text[:end]} [{slot}]{text[end:]}"
        return f"{text} [END]"

    @cached_property
    def _mentions(self) -> dict[str, int]:
        ends, start = {}, 0
        slots = sorted((s for s in self.words if is_name_slot(s)), key=self.positions.__getitem__)
        for slot in slots:
            start = self.text.index(self.words[slot], start) + len(self.words[slot])
            ends[slot] = start
        return ends


@dataclass(frozen=True)
class Encoder:
    """A tokenizer, whether the model wants BOS before the prompt, and how much it reads.

    Attributes:
        max_tokens: Most tokens of a prompt, BOS included; none: not checked here.
    """

    tokenizer: PreTrainedTokenizerBase
    prepend_bos: bool
    max_tokens: int | None = None

    def word_tokens(self, word: str) -> tuple[int, ...]:
        """Tokens of a word as it stands inside a sentence, after a space.

        Raises:
            NotCovered: If the tokenizer does not know the word.
        """
        tokens = tuple(self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])
        if not tokens or self.tokenizer.unk_token_id in tokens:
            raise NotCovered(f"The model's tokenizer does not know the word {word!r}.")
        return tokens

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids with the character span of each; BOS has the empty span (0, 0).

        Raises:
            NotCovered: If the tokenizer does not know a word of the text, or the
                text is longer than the model reads.
        """
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens, spans = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in tokens:
            start, end = spans[tokens.index(unknown)]
            raise NotCovered(
                f"The model's tokenizer does not know {text[start:end]!r} in {text!r}."
            )
        if self.prepend_bos:
            tokens.insert(0, self.tokenizer.bos_token_id)
            spans.insert(0, (0, 0))
        if self.max_tokens is not None and len(tokens) > self.max_tokens:
            raise NotCovered(
                f"The model reads at most {self.max_tokens} tokens, and {text!r} has {len(tokens)}."
            )
        return tokens, spans


def fill_template(
    template: Template,
    order: str,
    words: Mapping[str, str],
    encoder: Encoder,
    steps: Sequence[str] = (),
) -> Prompt:
    """Fill a template and find its semantic positions in the tokens.

    Args:
        words: What fills each slot of the template. An empty word takes the
            space before its slot with it.
        steps: Positions to find besides, some steps from a mention, such as S2+1.

    Raises:
        InputError: If a slot has no word, or a mention does not keep its own
            tokens in the sentence (a name at the very start of a text, say), so
            that its position is not defined, or a step leads out of the prompt.
    """
    where = f"{template.where}: " if template.where else ""
    for slot in template.slots:
        if slot not in words:
            raise InputError(
                f"{where}Template {template.id!r} cannot be filled: no word for {slot}."
            )
    text, mentions = "", {}
    for piece in _pieces(template.in_order(order)):
        if piece.startswith("{"):
            slot = piece[1:-1]
            if is_name_slot(slot):
                mentions[slot] = (len(text), len(text) + len(words[slot]))
            text = text + words[slot] if words[slot] else text.removesuffix(" ")
        else:
            text += piece
    tokens, spans = encoder.encode(text)
    found = {}
    for slot, (start, end) in mentions.items():
        inside = [i for i, (left, right) in enumerate(spans) if left < end and right > start]
        if tuple(tokens[i] for i in inside) != encoder.word_tokens(words[slot]):
            raise InputError(
                f"{where}In template {template.id!r} the name {words[slot]!r} at {slot} is not "
                f"tokenised as it is after a space, so its position is undefined; put a word "
                f"before it."
            )
        found[slot] = inside[-1]
    positions = {slot: found[slot] for slot in sorted(found, key=_reading_order)}
    positions["S1+1"] = found["S1"] + 1
    for name in steps:
        positions[name] = _step_from(name, found, len(tokens), where)
    positions["END"] = len(tokens) - 1
    return Prompt(
        text=text,
        tokens=tuple(tokens),
        positions=MappingProxyType(positions),
        words=MappingProxyType({slot: words[slot] for slot in template.slots}),
        template=template.id,
        order=order,
        io_token=encoder.word_tokens(words["IO"])[0],
        s_token=encoder.word_tokens(words["S1"])[0],
    )


def _step_from(name: str, found: Mapping[str, int], n_tokens: int, where: str) -> int:
    """The index that lies so many steps from a mention."""
    mention, sign, size = re.fullmatch(r"(\w+)([+-])(\d)", name).groups()  # type: ignore[union-attr]
    index = found[mention] + int(f"{sign}{size}")
    if not 0 <= index < n_tokens - 1:
        raise InputError(f"{where}The position {name} lies outside the prompt or at END.")
    return index


def _pieces(text: str) -> list[str]:
    pieces, rest = [], text
    while rest:
        left, brace, rest = rest.partition("{")
        pieces.append(left)
        if brace:
            slot, _, rest = rest.partition("}")
            pieces.append(f"{{{slot}}}")
    return pieces


def _reading_order(slot: str) -> tuple[int, str]:
    return ("I", "S", "C").index(slot[0]), slot
