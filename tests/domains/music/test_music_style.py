"""Styles as vectors: tags are exact, blends and arcs keep their length, absent weights are named."""

from pathlib import Path

import pytest
import torch

from core.errors import ConfigError, DataError
from domains.music.style import TagStyle, along, blend, encoder_for, slerp

TAGS = TagStyle({"instrument": ("organ", "piano"), "tempo": ("fast", "slow"), "voice": ("female", "male")})


def test_a_style_that_names_every_field_has_length_one() -> None:
    style = TAGS.text("piano, slow, Female")
    assert torch.equal(style, TAGS.of({"voice": "female", "instrument": "piano", "tempo": "slow"}))
    assert style.tolist() == pytest.approx([0, 3**-0.5, 0, 3**-0.5, 3**-0.5, 0])
    assert float(style.norm()) == pytest.approx(1)
    assert float(TAGS.text("piano").norm()) == pytest.approx(3**-0.5)
    assert float(TAGS.text("organ, piano, slow, male").norm()) == pytest.approx(1)
    assert not TAGS.text("").any()


def test_a_misspelt_tag_is_named_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="unknown style tag 'paino'") as found:
        TAGS.text("paino, slow")
    assert found.value.hint == "Did you mean 'piano'?"
    with pytest.raises(ConfigError, match="unknown field of style 'mood'"):
        TAGS.of({"mood": "sad"})
    with pytest.raises(ConfigError, match="a recording has none"):
        TAGS.audio(torch.zeros(1, 10), 22050)


def test_an_arc_between_unit_vectors_stays_on_the_sphere() -> None:
    a, b = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    for share in (0.0, 0.25, 0.5, 1.0):
        point = slerp(a, b, share)
        assert float(point.norm()) == pytest.approx(1, abs=1e-6)
        assert float(torch.acos(point @ a)) == pytest.approx(share * torch.pi / 2, abs=1e-3)
    assert torch.allclose(slerp(a, 3 * b, 0.5).norm(), torch.tensor(2.0))
    assert torch.allclose(slerp(a, 2 * a, 0.5), 1.5 * a)
    assert float(((a + b) / 2).norm()) < 0.8  # a straight mean would leave it


def test_a_blend_is_as_long_as_its_parts() -> None:
    a, b = torch.tensor([1.0, 0]), torch.tensor([0, 1.0])
    assert torch.allclose(blend([a, b], [3, 1]), torch.tensor([3.0, 1.0]) / 10**0.5)
    assert torch.allclose(blend([a, b]).norm(), torch.tensor(1.0))
    with pytest.raises(ConfigError, match="one weight of 0 or more per style"):
        blend([a, b], [1, -1])
    with pytest.raises(ConfigError, match="cancel"):
        blend([a, -a])


def test_sections_turn_into_one_another_at_their_border() -> None:
    a, b = torch.tensor([1.0, 0]), torch.tensor([0, 1.0])
    style = along([(0, a), (50, b)], 100, border=10)
    assert torch.equal(style[44], a)
    assert torch.equal(style[55], b)
    assert torch.allclose(style.norm(dim=1), torch.ones(100), atol=1e-6)
    assert bool((style[44:56, 1].diff() > 0).all())
    with pytest.raises(DataError, match=r"begin at frame 0 and go on in order, got \[5\]"):
        along([(5, a)], 100)


def test_encoders_that_cannot_be_had_say_what_to_give(tmp_path: Path) -> None:
    for name, option in (("clap", "--clap"), ("mulan", "--mulan")):
        with pytest.raises(ConfigError, match="none was given") as found:
            encoder_for(name)
        assert found.value.hint is not None
        assert option in found.value.hint
        with pytest.raises(ConfigError, match="is no folder"):
            encoder_for(name, folder=tmp_path / "absent")
    with pytest.raises(ConfigError, match="unknown style encoder 'tag'"):
        encoder_for("tag")
    with pytest.raises(ConfigError, match="needs a model"):
        encoder_for("tagger")
    assert encoder_for("tags", vocabulary=TAGS.vocabulary).length == 6
