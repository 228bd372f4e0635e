"""Hole markup: pieces, positions, lengths, and faults that say where they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from domains.language.holes import Hole, Words, layouts, parse_holes


def test_pieces_keep_their_positions() -> None:
    assert parse_holes("The cat [[2]] on [[1:4]].") == (
        Words("The cat ", 0),
        Hole(2, 2, 8),
        Words(" on ", 13),
        Hole(1, 4, 17),
        Words(".", 24),
    )


def test_neighbouring_and_bare_holes_have_no_text_between() -> None:
    assert parse_holes("[[1]][[ 2 : 3 ]]") == (Hole(1, 1, 0), Hole(2, 3, 5))
    assert parse_holes("no hole") == (Words("no hole", 0),)
    assert parse_holes("") == ()


def test_escaped_brackets_are_text() -> None:
    assert parse_holes(r"a = \[[1]] [[2]]") == (Words("a = [[1]] ", 0), Hole(2, 2, 11))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab [[", "line 1, column 4: '\\[\\[' is no hole"),
        ("ab\n [[x]]", "line 2, column 2: '\\[\\[x\\]\\]' is no hole"),
        ("[[]]", "line 1, column 1: '\\[\\[\\]\\]' is no hole"),
        ("[[-1]]", "is no hole"),
        ("[[2:]]", "is no hole"),
        ("[[2] ]", "is no hole"),
        ("x [[0]]", "line 1, column 3: a hole needs at least 1 token, got 0"),
        ("[[0:3]]", "at least 1 token"),
        ("[[5:2]]", "5 to 2 tokens holds no length"),
    ],
)
def test_a_faulty_hole_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_holes(text)
    assert "[[3]]" in str(caught.value.hint)


@given(
    parts=st.lists(
        st.text("ab [\n", max_size=5).filter(lambda text: "[[" not in text), min_size=1, max_size=5
    ),
    low=st.integers(1, 9),
    more=st.integers(0, 9),
)
def test_marking_up_and_parsing_round_trips(parts: list[str], low: int, more: int) -> None:
    parts = [part.replace("[", "(") for part in parts]
    pieces = parse_holes(f"[[{low}:{low + more}]]".join(parts))
    assert "".join(p.text for p in pieces if isinstance(p, Words)) == "".join(parts)
    holes = [p for p in pieces if isinstance(p, Hole)]
    assert [(h.shortest, h.longest) for h in holes] == [(low, low + more)] * (len(parts) - 1)


def test_layouts_try_every_choice_of_lengths_shortest_first(char) -> None:
    found = list(layouts(parse_holes("it[[1:2]]was[[2:3]]"), char))
    assert [layout.lengths for layout in found] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    m = char.mask_id
    assert found[2].ids.tolist() == [*char.encode("it"), m, m, *char.encode("was"), m, m]
    assert found[2].spans == ((2, 4), (7, 9))
    assert found[2].free.tolist() == [False, False, True, True, False, False, False, True, True]


def test_layouts_refuse_what_does_not_fit(char) -> None:
    with pytest.raises(DataError, match="has no hole"):
        layouts(parse_holes("it was"), char)
    with pytest.raises(ConfigError, match="give 400 choices of lengths, at most 256"):
        layouts(parse_holes("[[1:20]] [[1:20]]"), char)
    with pytest.raises(ConfigError, match="need 9 tokens, the model takes 8"):
        layouts(parse_holes("it [[2:6]]"), char, length=8)
