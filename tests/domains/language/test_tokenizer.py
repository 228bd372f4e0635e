"""Tokenizers: exact ids where they are published, round trips, and refusals of what would lose text."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CheckpointError, ConfigError, DataError, ModelMismatch
from domains.language.normalise import to_text8
from domains.language.tokenizer import END, MASK, PAD, PROBE, TEXT8, finished, train_tokenizer
from domains.language.tokenizer_files import GPT2_PROBE, load, load_gpt2, origins, save
from tests.domains.language.conftest import TEXT


def test_gpt2_gives_the_published_ids_and_size(gpt2) -> None:
    assert tuple(gpt2.encode(PROBE)) == GPT2_PROBE
    assert (gpt2.size, gpt2.eos_id, gpt2.mask_id, gpt2.pad_id) == (50257, 50256, 50257, 50258)


def test_text8_numbers_space_and_letters_and_has_no_end() -> None:
    tokenizer = train_tokenizer("text8")
    assert tokenizer.encode(" az") == [0, 1, 26]
    assert (tokenizer.size, tokenizer.eos_id, tokenizer.mask_id, tokenizer.pad_id) == (27, None, 27, 28)


def test_the_end_is_the_last_id_of_a_trained_vocabulary(bpe, char) -> None:
    assert bpe.eos_id == bpe.size - 1
    assert char.eos_id == char.size - 1
    assert train_tokenizer("char", ["ba"], ends=False).eos_id is None


def test_characters_are_numbered_in_code_order(char) -> None:
    assert char.symbols == "".join(sorted(set(TEXT)))
    assert char.encode("\n") == [char.symbols.index("\n")]


CODES = st.one_of(st.integers(0, 0x2FF), st.integers(0, 0xD7FF), st.integers(0xE000, 0x10FFFF))


@settings(max_examples=60, deadline=None)
@given(text=st.lists(CODES.map(chr), max_size=40).map("".join))
def test_byte_level_bpe_round_trips_any_text(bpe, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize("name", ["bpe", "char", "gpt2"])
def test_the_names_of_end_mask_and_padding_are_plain_text(name: str, request) -> None:
    tokenizer = request.getfixturevalue(name)
    if name == "char":
        tokenizer = train_tokenizer("char", [END + MASK + PAD])
    ids = tokenizer.encode(f"{END}{MASK}{PAD}")
    assert not {tokenizer.eos_id, tokenizer.mask_id, tokenizer.pad_id} & set(ids)
    assert tokenizer.decode(ids) == f"{END}{MASK}{PAD}"


def test_decoding_shows_masks_and_ends_and_drops_padding(bpe) -> None:
    ids = [*bpe.encode("was"), bpe.mask_id, *bpe.encode(" the"), bpe.eos_id, bpe.pad_id]
    assert bpe.decode(ids) == f"was█ the{END}"
    assert bpe.decode(ids, mask="_", end="") == "was_ the"


def test_a_batch_encodes_like_single_texts(bpe, char) -> None:
    texts = [TEXT, "", "it was"]
    for tokenizer in (bpe, char):
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_training_twice_gives_the_same_vocabulary(bpe) -> None:
    assert train_tokenizer("bpe", [TEXT] * 3, 300) == bpe
    assert train_tokenizer("bpe", [TEXT + "zzzzzz zzz"] * 3, 300) != bpe


@pytest.mark.parametrize("name", ["bpe", "char", "gpt2"])
def test_a_saved_tokenizer_loads_as_the_same(name: str, request, tmp_path: Path) -> None:
    tokenizer = request.getfixturevalue(name)
    again = load(save(tokenizer, tmp_path / "made"))
    assert again == tokenizer
    assert again.sources == tokenizer.sources
    assert again.encode("it was the age") == tokenizer.encode("it was the age")
    special = json.loads((tmp_path / "made" / "special_ids.json").read_text())
    assert special == {
        "size": tokenizer.size,
        "eos_id": tokenizer.eos_id,
        "mask_id": tokenizer.size,
        "pad_id": tokenizer.size + 1,
    }


def test_saving_records_the_hash_of_each_source(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"abc")
    made = train_tokenizer("char", ["abc"], sources=origins([file]))
    meta = json.loads((save(made, tmp_path / "t") / "meta.json").read_text())
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert meta["sources"] == [
        {"name": "a.txt", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    ]


def test_the_library_reads_saved_characters_with_the_same_ids(char, tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    model = library.Tokenizer.from_file(str(save(char, tmp_path) / "tokenizer.json"))
    assert model.encode(TEXT).ids == char.encode(TEXT)
    assert model.decode(char.encode(TEXT), skip_special_tokens=False) == TEXT
    assert [model.token_to_id(name) for name in (END, MASK, PAD)] == [char.eos_id, char.mask_id, char.pad_id]


@pytest.mark.slow  # the package takes many seconds to import
@pytest.mark.parametrize("name", ["bpe", "char"])
def test_transformers_reads_a_saved_tokenizer_with_the_same_ids(name: str, request, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="'transformers' is not installed")
    tokenizer = request.getfixturevalue(name)
    file = save(tokenizer, tmp_path) / "tokenizer.json"
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(file), eos_token=END, mask_token=MASK, pad_token=PAD
    )
    assert fast(TEXT)["input_ids"] == tokenizer.encode(TEXT)
    assert (fast.eos_token_id, fast.mask_token_id, fast.pad_token_id) == (
        tokenizer.eos_id,
        tokenizer.mask_id,
        tokenizer.pad_id,
    )


def test_a_tokenizer_that_encodes_to_nothing_or_unknown_only_is_refused() -> None:
    library = pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    empty = library.Tokenizer(library.models.BPE())
    with pytest.raises(DataError, match=r"encodes .* to nothing"):
        finished(empty, "bpe", 0, None)
    lost = library.Tokenizer(library.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    lost.pre_tokenizer = library.pre_tokenizers.Whitespace()
    with pytest.raises(DataError, match=r"to \[UNK\] only"):
        finished(lost, "bpe", 2, None)


def test_a_tokenizer_of_another_program_keeps_its_ids(bpe, tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    plain = library.ByteLevelBPETokenizer()
    plain.train_from_iterator([TEXT] * 3, vocab_size=290, special_tokens=["</s>"], show_progress=False)
    plain.save(str(tmp_path / "tokenizer.json"))
    made = load(tmp_path)
    assert (made.size, made.eos_id) == (plain.get_vocab_size(), 0)
    assert made.encode("it was") == plain.encode("it was").ids


@pytest.mark.parametrize(
    ("text", "where"),
    [("abc de é", "line 1, column 8"), ("A", "line 1, column 1"), ("ab\n\n1", "line 1, column 3")],
)
def test_text8_refuses_the_first_other_character_with_its_place(text: str, where: str) -> None:
    with pytest.raises(DataError, match=where) as caught:
        train_tokenizer("text8").encode(text)
    assert "--normalize" in str(caught.value.hint)


def test_an_unknown_character_of_a_piece_is_placed_in_its_file(char) -> None:
    with pytest.raises(DataError, match=r"a\.txt, line 8, column 4: 'Z' is not among"):
        char.encode("was\nof Z", source="a.txt", line=7, column=5)
    with pytest.raises(DataError, match="line 7, column 9"):
        char.encode("was Z", source="a.txt", line=7, column=5)


def test_normalising_text8_gives_letters_and_single_spaces() -> None:
    assert to_text8("It's 42,\n\nNaïve!") == "it s four two naive "
    assert set(to_text8(TEXT)) <= set(TEXT8)
    assert train_tokenizer("text8").normalised("A-b") == "a b"


def test_normalising_characters_puts_a_space_for_unknown_ones() -> None:
    assert train_tokenizer("char", ["ab "]).normalised("aXb") == "a b"
    assert train_tokenizer("char", ["ab"]).normalised("aXb") == "ab"


def test_the_character_table_agrees_with_a_dictionary(char) -> None:
    index = {symbol: i for i, symbol in enumerate(char.symbols)}
    assert char.encode_array(TEXT).dtype == np.int32
    assert char.encode(TEXT) == [index[c] for c in TEXT]


@pytest.mark.parametrize("bad", [lambda t: t.mask_id, lambda t: t.pad_id, lambda t: -1])
def test_special_ids_in_a_users_ids_are_refused_with_their_position(bad, char) -> None:
    with pytest.raises(DataError, match=f"id {bad(char)}.* at position 2"):
        char.check_ids([0, 1, bad(char)])
    char.check_ids(char.encode(TEXT))


def test_a_model_of_another_vocabulary_is_refused_with_both_sizes(char) -> None:
    with pytest.raises(ModelMismatch, match=f"{char.size} tokens, the model 7"):
        char.check_model(7)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: train_tokenizer("bpe", ["x"], 256), ConfigError, "at least 257 tokens"),
        (lambda: train_tokenizer("bpe", [""], 300), DataError, "no text to learn merges"),
        (lambda: train_tokenizer("char", [""]), DataError, "no text to learn characters"),
        (lambda: train_tokenizer("char", ["abcdef"], 5), DataError, "hold 6 characters, 4 fit"),
        (lambda: train_tokenizer("gpt2", ["a"]), ConfigError, "is not trained"),
        (lambda: train_tokenizer("bpee", ["a"]), ConfigError, "unknown kind of tokenizer 'bpee'"),
    ],
)
def test_training_refuses_what_cannot_work(make, error, message: str) -> None:
    if "bpe" in message or "merges" in message:
        pytest.importorskip("tokenizers", reason="'tokenizers' is not installed (extra 'language')")
    with pytest.raises(error, match=message):
        make()


def test_loading_names_what_is_missing_or_changed(char, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no tokenizer"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"there is no .*vocab\.json"):
        load_gpt2(tmp_path)
    save(char, tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"w"', '"W"'), "utf-8")
    with pytest.raises(CheckpointError, match="is not the one"):
        load(tmp_path)
    (tmp_path / "special_ids.json").unlink()
    with pytest.raises(CheckpointError, match="no complete tokenizer"):
        load(tmp_path)
