"""The committed measurement of the codec belongs to the weights that ship and keeps its limits."""

import hashlib
import json
from typing import Any

import pytest

from domains.music.codec import load_codec
from domains.music.codec.latents import encoder_digest
from domains.music.weights import shipped
from tests.benchmarks.music_codec import MELS, RESULTS

WEIGHTS = shipped("codec") / "model.safetensors"
found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
card: dict[str, Any] = json.loads((shipped("codec") / "card.json").read_text("utf-8"))


def test_the_measured_codec_is_the_one_that_ships() -> None:
    sha = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert found["weights_sha256"] == card["sha256"] == sha
    codec = load_codec(WEIGHTS)
    assert card["encoder"] == encoder_digest(codec)
    assert card["parameters"] == sum(p.numel() for p in codec.parameters())
    assert WEIGHTS.stat().st_size <= 6e6


@pytest.mark.parametrize("group", found["groups"])
def test_latents_hold_more_than_mel_bands_at_twice_their_rate(group: str) -> None:
    row = found["groups"][group]
    assert found["numbers_a_second"]["codec"] * 2 <= found["numbers_a_second"]["mel 64, hop 1024"]
    assert all(row["codec"][kind] < row["mel 64, hop 1024"][kind] for kind in ("error", "lsd"))
    assert set(MELS) < set(row)


def test_decoding_is_far_cheaper_than_that_of_a_wave_codec() -> None:
    assert found["cost"]["oobleck, base width 28"]["decode_ratio"] >= 15
    assert found["cost"]["oobleck, base width 28"]["encode_ratio"] >= 50
