"""Named texts: what each holds, that splits do not overlap, and what files and faults give."""

import math
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from data.catalog import find_card
from data.synthetic.grammar import ENGLISH
from domains.language.formats import Reading
from domains.language.sets import BUILTIN, CHARACTERS, MARKOV, NAMED, SENTENCES, read_set
from domains.language.token_files import Prepared, in_memory
from domains.language.tokenizer import train_tokenizer
from domains.language.tokenizer_files import find_tokenizer


def characters(source, split: str) -> int:
    return sum(len(item.text) for item in source.documents(split))


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_builtin_text_is_the_same_each_time_and_has_three_splits(name: str) -> None:
    source = read_set(name)
    assert source.splits == ("train", "valid", "test")
    first = [item.text for item in source.documents("valid")]
    assert first == [item.text for item in source.documents("valid")]
    assert first
    assert not set(first) & {item.text for item in source.documents("test")} or name == "english_grammar"


@pytest.mark.parametrize("name", [*BUILTIN, *(card for card, _ in NAMED.values()), "gpt2_bpe"])
def test_every_text_has_a_card_of_this_domain(name: str) -> None:
    assert find_card(name).domain == "language"


def test_grammar_sentences_have_the_known_mean_and_entropy() -> None:
    source = read_set("english_grammar")
    rows = [item.text for item in source.documents("valid")]
    assert len(rows) == SENTENCES["valid"]
    nats = np.array([-ENGLISH.log_prob(text) for text in rows[:300]])
    error = nats.std() / math.sqrt(len(nats))
    assert nats.mean() == pytest.approx(ENGLISH.entropy, abs=4 * error)


def test_markov_characters_are_of_the_source() -> None:
    (item,) = read_set("markov_text").documents("test")
    assert len(item.text) == CHARACTERS["test"]
    ids = np.array([[MARKOV.symbols.index(c) for c in item.text[:5000]]])
    rate = -MARKOV.log_prob(ids)[0] / 5000
    # About 0.7 nats of spread a character: standard error 0.01.
    assert rate == pytest.approx(MARKOV.entropy_rate, abs=0.04)


def test_the_manual_is_divided_by_topic() -> None:
    source = read_set("python_manual")
    rows = {split: {item.row for item in source.documents(split)} for split in source.splits}
    total = sum(len(found) for found in rows.values())
    assert set.union(*rows.values()) == set(range(1, total + 1))
    assert total >= 70
    assert sum(characters(source, split) for split in source.splits) > 300_000


def test_text8_head_has_its_two_ranges_and_its_warning(real_data) -> None:
    source = read_set("text8_head", data_dir=real_data("language/text8_head").parents[1])
    assert [characters(source, split) for split in source.splits] == [4_250_000, 128_000]
    assert (source.label, source.kind, source.ends) == ("text8-head", "text8", False)
    assert "do not compare" in source.note
    tokens = in_memory(source.documents("valid"), train_tokenizer("text8"), Prepared(ends="none"))
    assert tokens.count == 128_000


def test_the_other_files_hold_what_their_cards_say(real_data) -> None:
    folder = real_data("language/books").parents[1]
    books, plays = (read_set(name, data_dir=folder) for name in ("books", "tinyshakespeare"))
    assert [len(list(books.files[split])) for split in books.splits] == [6, 1]
    assert sum(item.ends for item in books.documents("train")) == 6
    assert [characters(plays, split) for split in plays.splits] == [1_003_854, 111_540]
    rows = {
        name: sum(1 for _ in read_set(name, data_dir=folder).documents("test"))
        for name in ("wikitext2", "lambada")
    }
    assert rows == {"wikitext2": 4358, "lambada": 5153}


def test_a_file_of_the_user_is_a_training_split(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("one\ntwo\n")
    source = read_set(file, Reading(unit="line"))
    assert [item.text for item in source.documents()] == ["one", "two"]
    assert (source.name, source.files["train"]) == ("mine.txt", (file,))
    with pytest.raises(ConfigError, match=r"unknown split of 'mine\.txt' 'test' \(known: train\)"):
        source.documents("test")


def test_missing_texts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_set(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="unknown text 'text8_hed'") as caught:
        read_set("text8_hed")
    assert caught.value.hint == "Did you mean 'text8_head'?"


def test_tokenizers_are_found_by_name(real_data) -> None:
    assert find_tokenizer("text8").size == 27
    pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    assert find_tokenizer("gpt2", data_dir=real_data("language/gpt2_bpe").parents[1]).size == 50257
    with pytest.raises(DataError, match="holds no tokenizer"):
        find_tokenizer("gpt3")
