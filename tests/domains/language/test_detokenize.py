"""Detokenisers: each rule on a line written for it, and their order where it matters."""

import pytest

from core.errors import ConfigError
from domains.language.detokenize import DETOKENISERS, detokeniser


@pytest.mark.parametrize(
    ("name", "spaced", "plain"),
    [
        ("wikitext", "the actors ' guild", "the actors' guild"),
        (
            "wikitext",
            "a guest @-@ starring role of 1 @,@ 000 at 2 @.@ 5",
            "a guest-starring role of 1,000 at 2.5",
        ),
        (
            "wikitext",
            "one ; two : three , four ! five ? six . seven",
            "one; two: three, four! five? six. seven",
        ),
        ("wikitext", 'he said " so it is " ( twice ) [ sic ] { x }', 'he said "so it is" (twice) [sic] {x}'),
        ("wikitext", " = = Early life = = \n", " == Early life ==\n"),
        ("wikitext", " = = = = Deep = = = = \n", " ==== Deep ====\n"),
        ("wikitext", "at 40 ° north", "at 40°north"),
        ("wikitext", "some N men and the king 's son", "some 1 men and the king's son"),
        ("ptb", "the company 's shares do n't rise", "the company's shares don't rise"),
        ("ptb", "the owners ' share", "the owners' share"),
        ("ptb", "for N N N N cents", "for 1 1 1 1 cents"),
        ("ptb", "at $ N a share and # N each", "at $1 a share and #1 each"),
        ("ptb", "either\\/or of <unk>", "either/or of ?"),
        ("lambada", " “Go,” she said. \n", '\n"Go," she said.'),
        ("lm1b", "see http : / / x for it .", "see http://x for it."),
        ("lm1b", "it 's done . Why ? Now ! And , so", "it's done. Why? Now! And, so"),
        ("lm1b", "is it ?", "is it?"),
        ("lm1b", "stop !", "stop!"),
        ("lm1b", "$ 5 and £ 6 a / b", "$5 and £6 a/b"),
        ("lm1b", 'he " went away " ( fast ) [ so ]', 'he "went away" (fast) [so]'),
        ("none", " as  it , is ", " as  it , is "),
    ],
)
def test_each_rule_restores_the_text_a_writer_would_write(name: str, spaced: str, plain: str) -> None:
    assert detokeniser(name)(spaced) == plain


def test_longer_runs_of_equal_signs_are_closed_before_shorter_ones() -> None:
    # Closing "= =" first would leave "== ==" behind.
    assert "= = = =".replace("= =", "==") == "== =="
    assert detokeniser("wikitext")("= = = =") == "===="


def test_an_empty_row_stays_empty_but_for_the_newline_of_lambada() -> None:
    assert {name: rules("") for name, rules in DETOKENISERS.items()} == {
        "none": "",
        "wikitext": "",
        "ptb": "",
        "lambada": "\n",
        "lm1b": "",
    }


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown detokeniser 'wikitxt'") as caught:
        detokeniser("wikitxt")
    assert caught.value.hint == "Did you mean 'wikitext'?"
