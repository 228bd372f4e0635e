"""Streams of the published tables: rows, tokens, blocks, first ids and hash, on the real files."""

from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from domains.language.detokenize import detokeniser
from domains.language.formats import Document, Reading, read_documents
from domains.language.protocols import (
    ZERO_SHOT,
    check_stream,
    grouped_blocks,
    protocol_blocks,
    rows_of,
    zero_shot_tokens,
)
from domains.language.token_files import Prepared, TokenFile

FILES = {"wikitext2": "wikitext2_raw/test.jsonl.gz", "lambada": "lambada/lambada_test.jsonl.gz"}


@pytest.fixture(scope="module")
def streams(gpt2, real_data) -> dict[str, TokenFile]:
    return {
        name: zero_shot_tokens(name, read_documents(real_data(f"language/{file}")), gpt2)
        for name, file in FILES.items()
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_stream_is_the_published_one(name: str, streams) -> None:
    tokens, wanted = streams[name], ZERO_SHOT[name].stream
    assert wanted is not None
    assert (tokens.documents, tokens.count, len(protocol_blocks(tokens, "radd"))) == (
        wanted.rows,
        wanted.tokens,
        wanted.blocks,
    )
    assert tuple(tokens.ids[:8].tolist()) == wanted.first
    assert tokens.sha256[:16] == wanted.sha256
    check_stream(name, tokens)


def test_the_penn_treebank_stream_is_the_published_one(gpt2, real_data) -> None:
    file = real_data("language/ptb/ptb.test.txt")
    tokens = zero_shot_tokens("ptb", read_documents(file, Reading(unit="line")), gpt2)
    check_stream("ptb", tokens)


def test_the_raw_file_gives_the_rows_of_the_table(real_data, tmp_path: Path) -> None:
    rows = list(read_documents(real_data("language/wikitext2_raw/test.jsonl.gz")))
    raw = tmp_path / "wiki.test.raw"
    raw.write_text("".join(item.text or " \n" for item in rows), encoding="utf-8", newline="")
    assert raw.stat().st_size == 1_290_590
    assert sum(not item.text for item in rows) == 1467
    lines = rows_of(read_documents(raw, Reading(unit="line")), "kept")
    assert [item.text for item in lines] == [item.text for item in rows]


def test_another_order_of_the_rules_gives_another_stream(gpt2, real_data) -> None:
    rows = read_documents(real_data(f"language/{FILES['lambada']}"), Reading(limit=300))
    swapped = Prepared(lambda text: detokeniser("lambada")(text).strip())
    first = next(iter(grouped_blocks(rows, gpt2, swapped)))
    assert tuple(first[:8].tolist()) != ZERO_SHOT["lambada"].stream.first


def test_each_protocol_cuts_the_same_stream_its_own_way(streams) -> None:
    tokens = streams["wikitext2"]
    radd, mdlm, suffuse = (protocol_blocks(tokens, name) for name in ("radd", "mdlm", "suffuse"))
    assert (len(radd), len(mdlm), len(suffuse)) == (274_796 // 1024, 274_796 // 1022, 269)
    assert int(suffuse.sizes.sum()) == tokens.count
    assert mdlm.row(3)[[0, -1]].tolist() == [50256, 50256]
    assert mdlm.row(3)[1:-1].tolist() == tokens.ids[3 * 1022 : 4 * 1022].tolist()


def test_blocks_inside_batches_of_rows_drop_more(gpt2, real_data) -> None:
    rows = read_documents(real_data(f"language/{FILES['wikitext2']}"))
    blocks = grouped_blocks(rows, gpt2, Prepared(detokeniser("wikitext")))
    # Five groups drop a remainder each; the published evaluator gets 264 to 268 by its worker count.
    assert blocks.shape == (267, 1024)


def test_a_stream_that_differs_is_refused_with_the_first_difference(char) -> None:
    tokens = zero_shot_tokens("wikitext2", [Document("it was", 1, "x", table=True)], char)
    with pytest.raises(DataError, match="rows 1, the published one 4358"):
        check_stream("wikitext2", tokens)
    check_stream("lm1b", tokens)


def test_misspelt_names_are_answered(char) -> None:
    with pytest.raises(ConfigError, match="unknown zero-shot set"):
        zero_shot_tokens("wikitext3", [], char)
    tokens = zero_shot_tokens("lm1b", [Document("it was", 1, "x")], char)
    with pytest.raises(ConfigError, match="unknown protocol 'rad'"):
        protocol_blocks(tokens, "rad")
