"""Readers: what a document is, pieces that encode like the whole, and errors that say where."""

import gzip
import json
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from domains.language.formats import Reading, place, read_documents, reading
from tests.domains.language.conftest import TEXT


def texts(path: Path, **settings) -> list[str]:
    return [item.text for item in read_documents(path, Reading(**settings))]


def test_a_text_file_is_one_document_lines_or_paragraphs(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\r\ntwo\n\nthree\n")
    assert texts(file) == ["one\ntwo\n\nthree\n"]
    assert texts(file, unit="line") == ["one", "two", "", "three"]
    assert texts(file, unit="paragraph") == ["one\ntwo", "three"]
    assert [item.row for item in read_documents(file, Reading(unit="paragraph"))] == [1, 4]
    assert texts(file, unit="line", limit=2) == ["one", "two"]


@pytest.mark.parametrize("packed", [False, True])
def test_json_rows_give_their_field_with_row_numbers(packed: bool, tmp_path: Path) -> None:
    file = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    content = "".join(json.dumps({"body": text}) + "\n" for text in ("x\ny", "", "é\u2028z"))
    (gzip.open if packed else open)(file, "wb").write(content.encode())
    found = list(read_documents(file, Reading(field="body")))
    assert [(item.text, item.row, item.name) for item in found] == [
        ("x\ny", 1, f"{file}, row 1"),
        ("", 2, f"{file}, row 2"),
        ("é\u2028z", 3, f"{file}, row 3"),
    ]


def test_parquet_gives_its_column(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="'pyarrow' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="'pyarrow' is not installed")
    file = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": ["a", "b"], "n": [1, 2]}), file)
    assert [(item.text, item.row) for item in read_documents(file)] == [("a", 1), ("b", 2)]
    with pytest.raises(DataError, match=r"no column 'body' \(columns: text, n\)"):
        texts(file, field="body")
    with pytest.raises(DataError, match="'n' is int, expected text"):
        texts(file, field="n")


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "ignored.png"):
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a.txt", "b.txt"]


def test_pieces_of_a_long_file_encode_to_the_ids_of_the_whole(bpe, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 37)
    file = tmp_path / "long.txt"
    whole = ("  " + TEXT + "\n \n  indented  text\t\tand   runs ") * 20
    file.write_text(whole, encoding="utf-8", newline="")
    pieces = list(read_documents(file))
    assert len(pieces) > 50
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece.text for piece in pieces) == whole
    assert [i for piece in pieces for i in bpe.encode(piece.text)] == bpe.encode(whole)


def test_cutting_anywhere_would_change_the_ids(bpe) -> None:
    at = TEXT.index(" times") + 3
    assert bpe.encode(TEXT[:at]) + bpe.encode(TEXT[at:]) != bpe.encode(TEXT)


def test_pieces_know_the_line_and_column_they_start_at(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 11)
    file = tmp_path / "lines.txt"
    whole = "ab cd\nef gh ij\n\nkl mn op qr st\n" * 4
    file.write_text(whole)
    start = 0
    for piece in read_documents(file):
        assert f"line {piece.line}, column {piece.column}" == place(whole, start)
        start += len(piece.text)
    assert start == len(whole)


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_chunks_never_split_a_character_or_a_line_break(chunk: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", chunk)
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffé🙂\r\nz\rw".encode())
    assert "".join(texts(file)) == "é🙂\nz\rw"


@pytest.mark.parametrize("chunk", [1, 4, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_bytes_that_are_no_utf8_are_named_with_their_offset(
    chunk: int, packed: bool, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", chunk)
    file = tmp_path / ("a.txt.gz" if packed else "a.txt")
    (gzip.open if packed else open)(file, "wb").write("é abc ".encode() + b"\xe9t\xe9")
    with pytest.raises(DataError, match="byte 0xe9 at offset 7") as caught:
        texts(file)
    assert "--encoding" in str(caught.value.hint)
    file.write_bytes(b"\xe9t\xe9")
    if not packed:
        assert texts(file, encoding="latin-1") == ["été"]


def test_a_cut_off_character_at_the_end_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("abé".encode()[:-1])
    with pytest.raises(DataError, match="byte 0xc3 at offset 2"):
        texts(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"is empty \(0 bytes\)"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), r"is empty \(0 bytes\)"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"some text", mtime=0)[:-6], "cannot be read"),
        ("a.jsonl", b'{"text": "a"}\n{bad\n', "line 2 is no JSON"),
        ("a.jsonl", b'{"body": "a", "id": 1}\n', r"no field 'text' \(fields body, id\)"),
        ("a.jsonl", b'["a"]\n', r"no field 'text' \(no object\)"),
        ("a.jsonl", b'{"text": null}\n', "row 1: 'text' is NoneType"),
        ("a.jsonl", b'{"text": "ab\\ud800"}\n', "row 1: character 3 of 'text' is half of a surrogate"),
        ("a.png", b"x", "no known type of text"),
        ("a.parquet", b"x", "is no Parquet file"),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="'pyarrow' is not installed")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        texts(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        texts(tmp_path / "no.txt")
    with pytest.raises(DataError, match="holds no text"):
        texts(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoding": "utf-9"}, "unknown encoding"),
        ({"limit": 0}, "at least 1"),
        ({"unit": "word"}, "unit must be"),
    ],
)
def test_a_faulty_setting_is_refused(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Reading(**settings)
