"""Codecs: waves to latents at 21.5 Hz and back."""

from domains.music.codec.protocol import Codec, Law, drawn
from domains.music.codec.specvae import PRESETS, SpecVAE, SpecVAEConfig
from domains.music.codec.stored import codec_of, load_codec, save_codec

__all__ = [
    "PRESETS",
    "Codec",
    "Law",
    "SpecVAE",
    "SpecVAEConfig",
    "codec_of",
    "drawn",
    "load_codec",
    "save_codec",
]
