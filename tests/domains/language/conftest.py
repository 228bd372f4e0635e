"""Fixtures of the language tests: a small text, tokenizers made from it, and the vocabulary of GPT-2."""

from pathlib import Path

import pytest

from domains.language.tokenizer import Tokenizer, train_tokenizer
from domains.language.tokenizer_files import load_gpt2

TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the epoch of belief, it was the epoch of incredulity.\n\n\tÀ bientôt — 42 €! 🙂\n"
)


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    return train_tokenizer("bpe", [TEXT] * 3, 300)


@pytest.fixture(scope="session")
def char() -> Tokenizer:
    return train_tokenizer("char", [TEXT])


@pytest.fixture(scope="session")
def gpt2(real_data) -> Tokenizer:
    pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    folder: Path = real_data("language/gpt2_bpe")
    return load_gpt2(folder)
