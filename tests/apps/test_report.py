"""The report page: self-contained, escaped, and its arrows tell the truth."""

import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from apps.report import Column, Number, Page, Picture, Row, Section, Table, render, run_footer
from core.errors import DataError, NumericalError

PSNR = Column("PSNR", "dB", "higher", 1)
KS = Column("KS", "", "lower", 2)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects elements, checks that they are balanced, and keeps the text of table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A PNG of 3 x 2 grey pixels, made by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0\x10\x20\x30" * 2)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def page_of(*rows: Row, columns: tuple[Column, ...] = (PSNR,)) -> Reader:
    section = Section("Results", "Text.", tables=(Table(columns, rows, "Mean of 4 frames."),))
    return Reader(render(Page("Title", "Lede.", (section,))))


def test_a_page_asks_for_nothing_outside_itself(png: Path) -> None:
    section = Section(
        "One", "See `a.csv`.", pictures=(Picture(png, "Caption.", "Alt"),), command="suffuse demo"
    )
    text = render(Page("Title", "Lede.", (section,), run_footer({"suffuse": "0.1.0", "seed": 0})))
    reader = Reader(text)
    for tag in ("script", "link", "iframe", "object"):
        assert reader.of(tag) == []
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in reader.of("img"))
    for outside in ("http://", "https://", "url(", "@import"):
        assert outside not in text


def test_a_picture_has_its_alternative_text_and_its_size(png: Path) -> None:
    section = Section("One", "", pictures=(Picture(png, "Caption.", 'A "hazy" frame'),))
    image = Reader(render(Page("T", "L", (section,)))).of("img")[0]
    assert (image["alt"], image["width"], image["height"]) == ('A "hazy" frame', "3", "2")


def test_words_are_escaped_everywhere(png: Path) -> None:
    evil = "<b>&</b>"
    table = Table(
        (Column(evil, evil, "higher"),), (Row(evil, (evil,)), Row(evil, (1.0,), "baseline")), evil, evil
    )
    section = Section(evil, evil, (Picture(png, evil, evil),), (table,), evil)
    text = render(Page(evil, evil, (section,), (evil,)))
    assert "<b>" not in text
    Reader(text)


@pytest.mark.parametrize(
    ("column", "value", "mark"),
    [
        (PSNR, 20.0, "▲"),
        (PSNR, 16.0, "▼"),
        (PSNR, 18.0, "="),
        (KS, 16.0, "▲"),
        (KS, 20.0, "▼"),
        (Column("time"), 20.0, ""),
    ],
)
def test_an_arrow_points_up_when_the_result_beats_the_baseline(
    column: Column, value: float, mark: str
) -> None:
    reader = page_of(Row("input", (18.0,), "baseline"), Row("ours", (value,)), columns=(column,))
    assert reader.cells[1].split()[1:] == ([mark] if mark else [])


@pytest.mark.parametrize(("value", "mark"), [(18.99, "="), (19.01, "▲"), (16.99, "▼")])
def test_a_difference_within_two_standard_errors_is_none(value: float, mark: str) -> None:
    # hypot(0.3, 0.4) = 0.5, so two standard errors of the difference are exactly 1.
    reader = page_of(Row("input", (Number(18.0, 0.3),), "baseline"), Row("ours", (Number(value, 0.4),)))
    assert reader.cells[1].split()[-1] == mark


def test_baseline_and_ceiling_are_marked_and_never_compared() -> None:
    reader = page_of(Row("input", (18.0,), "baseline"), Row("truth", (40.0,), "ceiling"))
    assert [attrs.get("class") for attrs in reader.of("tr")[1:]] == ["baseline", "ceiling"]
    assert [cell.strip() for cell in reader.cells] == ["18.0", "40.0"]


def test_without_a_baseline_there_is_no_arrow_and_no_legend() -> None:
    section = Section("R", "", tables=(Table((PSNR,), (Row("ours", (18.0,)),)),))
    assert "▲" not in render(Page("T", "L", (section,)))


def test_numbers_show_their_error_and_a_true_minus_sign() -> None:
    assert page_of(Row("level", (Number(-32.44, 0.26),))).cells == ["−32.4 ± 0.3"]
    assert page_of(Row("level", (None,))).cells == ["–"]


def test_a_number_that_is_none_is_refused_by_row_and_column() -> None:
    with pytest.raises(NumericalError, match="'ours', column 'PSNR'"):
        page_of(Row("ours", (float("nan"),)))


def test_a_row_of_another_length_than_the_columns_is_an_error() -> None:
    with pytest.raises(ValueError, match="row 'ours' has 2 cells for 1 columns"):
        page_of(Row("ours", (1.0, 2.0)))


def test_a_picture_that_is_absent_or_no_png_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"GIF89a")
    for name, message in (("a.png", "cannot read the picture"), ("b.png", "is not a PNG")):
        section = Section("One", "", pictures=(Picture(tmp_path / name, "", ""),))
        with pytest.raises(DataError, match=message):
            render(Page("T", "L", (section,)))


def test_each_line_of_a_command_is_a_command() -> None:
    section = Section("One", "", command="suffuse demo\nsuffuse runs list")
    assert render(Page("T", "L", (section,))).count("<code>suffuse") == 2


def test_the_contents_link_to_the_sections_even_when_titles_repeat() -> None:
    sections = tuple(Section(title, "") for title in ("Same", "Same", "Other"))
    reader = Reader(render(Page("T", "L", sections)))
    assert [a["href"] for a in reader.of("a")] == [f"#{s['id']}" for s in reader.of("section")]
    assert len({s["id"] for s in reader.of("section")}) == 3


def test_the_footer_says_not_for_diagnosis_and_how_the_run_was_made() -> None:
    record = {
        "suffuse": "0.1.0",
        "git_revision": "0123456789abcdef",
        "git_changed": True,
        "seed": 0,
        "device": "cpu",
        "command_line": ["suffuse", "demo", "--out", "my runs"],
        "python": "3.11.7",
        "versions": {"torch": "2.14.1"},
    }
    assert run_footer(record) == (
        "Not for diagnosis.",
        "suffuse 0.1.0 (0123456789 with local changes), seed 0, cpu.",
        "`suffuse demo --out 'my runs'`",
        "Python 3.11.7, torch 2.14.1",
    )
