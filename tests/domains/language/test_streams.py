"""Token files and blocks: every token where it belongs, every epoch complete, order by (seed, epoch)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError, DataError
from core.train.samples import Shuffled
from domains.language import token_files
from domains.language.formats import Document, Reading, read_documents, reading
from domains.language.streams import Blocks, BlockSamples, blocks_of
from domains.language.token_files import Prepared, divided, in_memory, open_tokens, write_tokens
from domains.language.tokenizer import train_tokenizer
from tests.domains.language.conftest import TEXT

EOS, PAD = 9, 11
STREAM = np.array([1, 2, 3, EOS, 4, EOS, EOS, 5, 6, 7, 8, EOS, 1, 2])


def documents(*texts: str) -> list[Document]:
    return [Document(text, i + 1, "here", table=True) for i, text in enumerate(texts)]


def test_each_document_is_followed_by_the_end_of_text_empty_ones_too(char) -> None:
    tokens = in_memory(documents("it", "", "was"), char)
    it, was, end = char.encode("it"), char.encode("was"), char.eos_id
    assert tokens.ids.tolist() == [*it, end, end, *was, end]
    assert (tokens.documents, tokens.raw_bytes, tokens.characters) == (3, 5, 5)


def test_raw_bytes_count_the_text_before_it_was_changed(char) -> None:
    tokens = in_memory(documents("à it"), char, Prepared(detokenise=lambda text: text[2:], normalise=True))
    assert tokens.count == len("it") + 1
    assert (tokens.raw_bytes, tokens.characters) == (5, 4)


def test_pieces_get_one_end_and_detokenisers_see_the_whole(char) -> None:
    pieces = [Document("it w", 1, "f", ends=False), Document("as it", 1, "f", column=5)]
    assert in_memory(pieces, char).ids.tolist() == [*char.encode("it was it"), char.eos_id]
    swapped = in_memory(pieces, char, Prepared(detokenise=lambda text: text.replace("was", "is")))
    assert swapped.ids.tolist() == [*char.encode("it is it"), char.eos_id]


def test_a_token_file_reads_back_what_memory_holds(bpe, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(token_files, "BATCH_CHARACTERS", 50)
    rows = documents(*TEXT.split(","))
    kept, held = write_tokens(rows, bpe, tmp_path), in_memory(rows, bpe)
    assert isinstance(kept.ids, np.memmap)
    assert kept.ids.dtype == np.uint16
    assert kept.ids.tolist() == held.ids.tolist()
    assert kept.sha256 == held.sha256
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokens.bin", "tokens.json"]
    assert open_tokens(tmp_path) == kept


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    letters = "".join(chr(0x4E00 + i) for i in range(20_000)) + "".join(
        chr(0x20000 + i) for i in range(46_000)
    )
    tokenizer = train_tokenizer("char", [letters])
    kept = write_tokens(documents(letters), tokenizer, tmp_path)
    assert kept.ids.dtype == np.int32
    assert kept.ids[-1] == tokenizer.eos_id == 66_000


def test_a_failed_write_leaves_the_earlier_file_intact(char, tmp_path: Path) -> None:
    kept = write_tokens(documents("it was"), char, tmp_path)
    with pytest.raises(DataError, match=r"here, row 2, line 1, column 3: 'Q'"):
        write_tokens(documents("was it", "itQ"), char, tmp_path)
    assert open_tokens(tmp_path) == kept
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokens.bin", "tokens.json"]


def test_a_cut_or_missing_token_file_is_refused(char, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no tokens"):
        open_tokens(tmp_path)
    write_tokens(documents("it was"), char, tmp_path)
    (tmp_path / "tokens.bin").write_bytes(b"123")
    with pytest.raises(DataError, match="has 3 bytes, 7 tokens"):
        open_tokens(tmp_path)


def test_tokens_of_another_tokenizer_are_refused(char, bpe) -> None:
    tokens = in_memory(documents("it"), char)
    tokens.check(char)
    with pytest.raises(CheckpointError, match=f"of {char.size} tokens, this one has {bpe.size}"):
        tokens.check(bpe)


def test_ends_need_a_tokenizer_that_has_one() -> None:
    text8 = train_tokenizer("text8")
    with pytest.raises(ConfigError, match="text8 tokenizer has no end of text"):
        in_memory(documents("it"), text8)
    assert in_memory(documents("it", "was"), text8, Prepared(ends="none")).count == 5


def test_normalising_in_pieces_equals_normalising_the_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 19)
    file = tmp_path / "a.txt"
    whole = TEXT * 10 + " ... ! ... ? ... " * 10 + TEXT
    file.write_text(whole, encoding="utf-8")
    text8 = train_tokenizer("text8")
    prepared = Prepared(normalise=True, ends="none")
    pieces = list(read_documents(file, Reading()))
    assert len(pieces) > 20
    assert text8.decode(in_memory(pieces, text8, prepared).ids) == text8.normalised(whole)


def test_blocks_cut_the_stream_and_drop_or_keep_the_rest() -> None:
    blocks = Blocks(STREAM, 4, EOS, PAD)
    assert blocks.rows(range(len(blocks))).tolist() == [[1, 2, 3, 9], [4, 9, 9, 5], [6, 7, 8, 9]]
    kept = Blocks(STREAM, 4, EOS, PAD, keep_rest=True)
    assert kept.row(3).tolist() == [1, 2, PAD, PAD]
    assert kept.sizes.tolist() == [4, 4, 4, 2]
    assert len(Blocks(STREAM[:12], 4, EOS, PAD, keep_rest=True)) == 3


def test_bos_eos_blocks_hold_two_tokens_fewer_between_ends() -> None:
    blocks = Blocks(STREAM, 6, EOS, PAD, "bos_eos", keep_rest=True)
    assert blocks.rows(range(len(blocks))).tolist() == [
        [EOS, 1, 2, 3, EOS, EOS],
        [EOS, 4, EOS, EOS, 5, EOS],
        [EOS, 6, 7, 8, EOS, EOS],
        [EOS, 1, 2, EOS, PAD, PAD],
    ]
    assert blocks.sizes.tolist() == [6, 6, 6, 4]
    assert len(Blocks(STREAM, 6, EOS, PAD, "bos_eos")) == 3


def test_pad_after_eos_starts_each_document_in_its_own_block() -> None:
    blocks = Blocks(STREAM, 4, EOS, PAD, "pad_after_eos")
    assert blocks.rows(range(len(blocks))).tolist() == [
        [1, 2, 3, EOS],
        [4, EOS, PAD, PAD],
        [EOS, PAD, PAD, PAD],
        [5, 6, 7, 8],
        [EOS, PAD, PAD, PAD],
        [1, 2, PAD, PAD],
    ]
    assert blocks.sizes.tolist() == [4, 2, 1, 4, 1, 2]


@pytest.mark.parametrize("packing", ["eos", "bos_eos", "pad_after_eos"])
@pytest.mark.parametrize("length", [3, 5, 64])
def test_no_token_is_lost_or_doubled_when_the_rest_is_kept(packing, length: int) -> None:
    gen = np.random.default_rng(0)
    stream = gen.integers(0, 10, size=200)
    blocks = Blocks(stream, length, EOS, PAD, packing, keep_rest=True)
    found = []
    for number, size in enumerate(blocks.sizes):
        row = blocks.row(number)
        assert (row[size:] == PAD).all()
        found += row[1 : size - 1].tolist() if packing == "bos_eos" else row[:size].tolist()
    assert found == stream.tolist()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Blocks(STREAM[:3], 4, EOS, PAD), DataError, "found 3 tokens, a block .* needs 4"),
        (lambda: Blocks(STREAM[:3], 8, EOS, PAD, "bos_eos"), DataError, "found 3 tokens, a block .* needs 6"),
        (lambda: Blocks(STREAM, 2, EOS, PAD, "bos_eos"), ConfigError, "too short at length 2"),
        (lambda: Blocks(STREAM, 4, None, PAD, "pad_after_eos"), ConfigError, "needs an end of text"),
        (lambda: Blocks(STREAM, 4, EOS, PAD, "both"), ConfigError, "unknown packing 'both'"),
        (
            lambda: BlockSamples(Blocks(STREAM, 4, EOS, PAD, keep_rest=True), shifted=True),
            ConfigError,
            "only whole blocks",
        ),
    ],
)
def test_blocks_refuse_what_cannot_work(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_too_few_tokens_offer_the_length_that_works() -> None:
    with pytest.raises(DataError) as caught:
        Blocks(STREAM[:3], 8, EOS, PAD, "bos_eos")
    assert "--length 5" in str(caught.value.hint)
    assert len(Blocks(STREAM[:3], 5, EOS, PAD, "bos_eos")) == 1


def test_an_epoch_takes_every_block_once_in_an_order_of_its_own() -> None:
    samples = BlockSamples(Blocks(np.arange(80), 4, None, 99))
    epochs = [samples(range(20 * e, 20 * e + 20), seed=3).x0 for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.flatten().tolist()) == list(range(80))
        assert epoch.dtype == torch.int64
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], samples(range(20), seed=4).x0)


def test_a_sample_is_a_function_of_seed_and_number_alone() -> None:
    samples = BlockSamples(Blocks(np.arange(83), 4, None, 99), shifted=True)
    whole = samples(range(50), seed=1).x0
    parts = torch.cat([samples(range(a, a + 10), seed=1).x0 for a in (0, 10, 20, 30, 40)])
    assert torch.equal(whole, parts)


def test_a_shift_moves_the_grid_of_an_epoch_and_keeps_blocks_apart() -> None:
    samples = BlockSamples(Blocks(np.arange(83), 4, None, 99), shifted=True)
    assert samples.count == 20
    offsets = set()
    for epoch in range(30):
        rows = samples(range(20 * epoch, 20 * epoch + 20), seed=0).x0
        assert len(set(rows.flatten().tolist())) == 80
        offsets |= set((rows[:, 0] % 4).tolist())
    assert offsets == {0, 1, 2, 3}


def test_blocks_serve_the_core_as_a_data_set(char) -> None:
    tokens = in_memory(documents(TEXT), char)
    blocks = blocks_of(tokens, 16)
    rows = torch.from_numpy(blocks.rows(range(len(blocks))))
    mine, cores = BlockSamples(blocks), Shuffled(rows)
    ours = mine(range(len(blocks)), 0).x0
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, cores(range(len(rows)), 0).x0.tolist()))


def test_meta_names_the_tokenizer(char, tmp_path: Path) -> None:
    write_tokens(documents("it"), char, tmp_path)
    info = json.loads((tmp_path / "tokens.json").read_text())
    assert (info["fingerprint"], info["size"], info["eos_id"]) == (char.fingerprint, char.size, char.eos_id)


def test_the_held_out_tail_starts_after_an_end_of_text(char) -> None:
    tokens = in_memory(documents(*["it was"] * 20), char)
    train, valid = divided(tokens, 0.13)
    assert train.count + valid.count == tokens.count == 140
    assert valid.ids.tolist() == tokens.ids[126:].tolist()
    assert (train.documents, valid.documents) == (18, 2)
    assert train.raw_bytes + valid.raw_bytes == tokens.raw_bytes


def test_a_stream_without_ends_is_cut_where_it_was_asked() -> None:
    text8 = train_tokenizer("text8")
    tokens = in_memory(documents("a" * 100), text8, Prepared(ends="none"))
    assert [part.count for part in divided(tokens, 0.25)] == [75, 25]
    with pytest.raises(ConfigError, match="lies in"):
        divided(tokens, 1.0)
    with pytest.raises(DataError, match="cannot be divided"):
        divided(in_memory(documents("a"), text8, Prepared(ends="none")), 0.5)
