"""Train the codec that ships, in its two stages, and write its card.

    python -m tests.benchmarks.music_codec_weights CORPUS AUDIO -o FOLDER

CORPUS is a rendered corpus, AUDIO the folder of real recordings; those named in `REAL` are trained on (all
CC BY, attribution in the card), the others are kept for `tests.benchmarks.music_codec`. Each stage resumes
where it was cut. About 25 minutes of one core, in all.
"""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from domains.music.codec import PRESETS, codec_of, load_codec, save_codec
from domains.music.codec.latents import encoder_digest
from domains.music.codec.losses import SpectralLoss
from domains.music.codec.training import CodecRecipe, standardised, stems, train, waves
from domains.music.frames import HOP, RATE

REAL = {
    "Kevin_MacLeod_-_Vibe_Ace.ogg": "Kevin MacLeod, Vibe Ace, CC BY 3.0",
    "Kevin_MacLeod_-_P_I_Tchaikovsky_Dance_of_the_Sugar_Plum_Fairy.ogg": (
        "Kevin MacLeod, Dance of the Sugar Plum Fairy, CC BY 3.0"
    ),
    "sorohanro_-_solo-trumpet-06.ogg": "Mihai Sorohan, solo trumpet 06, CC BY 3.0",
    "librispeech_198-209-0000.ogg": "LibriSpeech 198-209-0000, CC BY 4.0",
    "librispeech_3436-172162-0000.ogg": "LibriSpeech 3436-172162-0000, CC BY 4.0",
}
SHARES = {"voice": 0.3, "backing": 0.25, "mix": 0.3, "real": 0.15}
FIRST = CodecRecipe(steps=2000, ema=0.995, every=250, loss=SpectralLoss(wave=0.0, kl_weight=2e-4))
SECOND = CodecRecipe(steps=2500, ema=0.995, every=250, loss=SpectralLoss(wave=0.5, kl_weight=0.0))
LEAST = 40000  # samples of the shortest file used


def say(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
    """One line every 100 steps."""
    if done % 100 == 0:
        print(stage, done, total, metric, flush=True)


def card(codec: Any, weights: Path, seconds: dict[str, int]) -> dict[str, Any]:
    """How the weights were made."""
    return {
        "what": "Spectral codec of 22.05 kHz mono sound: 32 standardised latents at 21.5 Hz and back.",
        "command": "python -m tests.benchmarks.music_codec_weights CORPUS AUDIO -o FOLDER",
        "data": (
            "Songs rendered from public-domain hymns, synthetic voices and instruments, and for 15 % of the "
            "crops the real recordings named under attribution."
        ),
        "licence": "MIT",
        "attribution": list(REAL.values()),
        "limits": (
            "Trained for less than half an hour of one core. Phases are not coded: a wave comes back like "
            "the input in its spectrum, not sample by sample. Noise-like sounds come back smoother."
        ),
        "parameters": sum(p.numel() for p in codec.parameters()),
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "encoder": encoder_digest(codec),
        "net": codec.config,
        "refine": codec.refine,
        "rate": RATE,
        "hop": HOP,
        "seconds": seconds,
        "shares": SHARES,
        "stages": [
            {"trains": "encoder and decoder", **asdict(FIRST)},
            {"trains": "decoder; latents stay as they are", **asdict(SECOND)},
        ],
    }


def write_card(folder: Path, seconds: dict[str, int]) -> None:
    """Write `card.json` beside `model.safetensors`."""
    codec = load_codec(folder / "model.safetensors")
    text = json.dumps(card(codec, folder / "model.safetensors", seconds), indent=1)
    (folder / "card.json").write_text(text + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    groups = stems(args.corpus, rate=RATE, least=LEAST)
    groups["real"] = waves([args.audio / name for name in REAL], rate=RATE, least=LEAST)
    seconds = {name: round(sum(w.shape[-1] for w in group) / RATE) for name, group in groups.items()}

    first = args.out / "first"
    made = train(
        groups, FIRST, weights=SHARES, config=PRESETS["small"], folder=first, resume=True, progress=say
    )
    codec = codec_of(made)
    standardised(codec, (w[None].float() / 32767 for name in ("voice", "backing") for w in groups[name]))
    save_codec(args.out / "first.safetensors", codec, made, half=False)

    codec = load_codec(args.out / "first.safetensors").train().requires_grad_(True)
    made = train(
        groups,
        SECOND,
        weights=SHARES,
        start=codec,
        frozen=True,
        seed=1,
        folder=args.out / "second",
        resume=True,
        progress=say,
    )
    save_codec(args.out / "model.safetensors", codec_of(made), made)
    write_card(args.out, seconds)


if __name__ == "__main__":
    main()
