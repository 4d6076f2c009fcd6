"""Two tokenizers: one word a token, and one that splits most names."""

import re
from string import ascii_uppercase

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from circuitgen.models.words import load_word_tokenizer
from circuitgen.prompts import Condition, Encoder, load_condition


@pytest.fixture(scope="session")
def base() -> Condition:
    return load_condition("base")


@pytest.fixture(scope="session")
def words() -> Encoder:
    return Encoder(load_word_tokenizer(), prepend_bos=False)


@pytest.fixture(scope="session")
def subwords(base: Condition) -> Encoder:
    """Byte-level BPE that knows the words of the templates and few of the names."""
    texts = [re.sub(r"\{\w+\}", "", template.text) for template in base.templates]
    # A capital after a space is one token, so that every name starts with letters.
    pieces = ["Mar", "Al", "son", "an", "el", "Mary", "Anna", "John", "James", *ascii_uppercase]
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(
        [*texts * 5, *(f" {piece}" for piece in pieces * 5)],
        vocab_size=500,
        show_progress=False,
        special_tokens=["<s>"],
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, bos_token="<s>")
    return Encoder(tokenizer, prepend_bos=True)
