"""Reconstruction and cost of the shipped codec, beside mel inversion and an Oobleck of the same latent rate.

    python -m tests.benchmarks.music_codec                      # prints the tables
    python -m tests.benchmarks.music_codec --corpus FOLDER      # also on the test songs of a rendered corpus
    python -m tests.benchmarks.music_codec --write              # and keeps them in results/music_codec.json

Figures of a decoded wave beside the original, ten seconds from the middle of each file:

    error    mean absolute difference of log magnitudes, dB, floor -80 dB of a full-scale sine, averaged over
             windows of 512, 1024 and 2048 samples with hops of a quarter
    loud     the same over the bins that lie above -60 dB in the original
    lsd      log-spectral distance (root of the mean square over bins), dB, of `metrics.reconstruction`

Baseline: mel spectra inverted by least squares and 32 rounds of Griffin-Lim (torchaudio), with its rate in
numbers a second beside that of the latents, 689. Recordings that the codec was trained on are left out. MP3:
the encoder hears the file coded at that level, the result is compared with the lossless one. Rounds: of the
decoder's own refinement. Cost: processor seconds for 30 s on one thread, the least of three in turn.
"""

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.music.audio import read_audio
from domains.music.codec import load_codec
from domains.music.codec.augment import lossy
from domains.music.codec.oobleck import Oobleck, OobleckConfig
from domains.music.frames import HOP, RATE
from domains.music.metrics.reconstruction import log_spectral_distance
from domains.music.weights import shipped
from tests.conftest import data_root

RESULTS = Path(__file__).parent / "results" / "music_codec.json"
WINDOWS = (512, 1024, 2048)
SECONDS = 10
# Name: mel bands, hop.
MELS = {"mel 64, hop 1024": (64, 1024), "mel 80, hop 1024": (80, 1024), "mel 80, hop 256": (80, 256)}
REAL = (
    "Fantasma_-_Los_Rombos.mp3",
    "Karissa_Hobbs_-_Lets_Go_Fishin.ogg",
    "Hungarian_Dance_number_5_-_Allegro_in_F_sharp_minor_string_orchestra.ogg",
    "librispeech_5703-47212-0000.ogg",
)
LEVELS = (0.0, 0.5, 0.99)  # of MP3 compression
ROUNDS = (0, 1, 2, 4)
OOBLECKS = {"oobleck, base width 16": 16, "oobleck, base width 28": 28}


def figures(x: Tensor, y: Tensor) -> dict[str, float]:
    """Figures of a wave x beside the original y, (samples,)."""
    error, loud = [], []
    for n in WINDOWS:
        shape = torch.hann_window(n)
        a, b = (
            20
            * torch.log10(torch.stft(w, n, n // 4, window=shape, return_complex=True).abs() * (4 / n) + 1e-4)
            for w in (x, y)
        )
        off = (a - b).abs()
        error.append(float(off.mean()))
        loud.append(float(off[b > -60].mean()))
    return {"error": float(np.mean(error)), "loud": float(np.mean(loud)), "lsd": log_spectral_distance(x, y)}


def mel_inverted(wave: Tensor, bands: int, hop: int) -> Tensor:
    """A wave (samples,) from its mel spectrum alone."""
    import torchaudio

    n = 4 * hop
    torch.manual_seed(0)
    mel = torchaudio.transforms.MelSpectrogram(RATE, n, hop_length=hop, n_mels=bands, power=1.0)(wave)
    spectrum = torchaudio.transforms.InverseMelScale(n // 2 + 1, bands, RATE, driver="gelsd")(mel)
    invert = torchaudio.transforms.GriffinLim(n, 32, hop_length=hop, power=1.0, length=len(wave))
    return invert(spectrum)


def files(corpus: Path | None, songs: int) -> Iterator[tuple[str, Path]]:
    """Test files with the group that they are counted in; of a corpus the first test songs."""
    root = data_root()
    if root is not None:
        for path in sorted((root / "music" / "rendered").glob("*_*.ogg")):
            yield f"examples, {'mix' if path.stem.endswith('mix') else 'voice'}", path
        for name in REAL:
            yield "real", root / "music" / "audio" / name
    if corpus is not None:
        for card in sorted(corpus.glob("*/song.json")):
            if json.loads(card.read_text("utf-8"))["split"] == "test" and songs > 0:
                songs -= 1
                for name in ("voice", "backing", "mix"):
                    yield f"corpus, {name}", card.parent / f"{name}.flac"


def piece(path: Path) -> Tensor:
    """Ten seconds from the middle, mono, whole frames, (samples,)."""
    wave = read_audio(path, RATE, channels=1).samples[0]
    length = min(SECONDS * RATE, len(wave)) // HOP * HOP
    start = (len(wave) - length) // 2
    return wave[start : start + length]


def reconstruction(codec: Any, corpus: Path | None, songs: int) -> list[dict[str, Any]]:
    """One row a file: figures of the codec, of coded input, of less refinement, and of the baselines."""
    rows = []
    for group, path in files(corpus, songs):
        x = piece(path)
        whole = x[None, None]
        made: dict[str, Tensor] = {}
        with torch.no_grad():
            outline = codec.outline(codec.encode(whole).mean)
            own = codec.refine
            for rounds in ROUNDS:
                codec.refine = rounds
                made[f"codec, {rounds} rounds"] = codec.voiced(outline)[0, 0]
            codec.refine = own
            made["codec"] = codec.voiced(outline)[0, 0]
            for level in LEVELS:
                coded = lossy(whole[0], RATE, level)[None]
                made[f"codec, mp3 {level:g}"] = codec.decode(codec.encode(coded).mean)[0, 0]
            for name, (bands, hop) in MELS.items():
                made[name] = mel_inverted(x, bands, hop)
        row = {"group": group, "file": path.parent.name if "corpus" in group else path.stem}
        rows.append(row | {name: figures(wave, x) for name, wave in made.items()})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def means(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard error of each figure in each group."""
    out: dict[str, dict[str, Any]] = {}
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row for row in rows if row["group"] == group]
        out[group] = {"n": len(mine)}
        for name in (key for key in mine[0] if key not in ("group", "file")):
            found = {}
            for kind in mine[0][name]:
                values = np.array([row[name][kind] for row in mine])
                found[kind] = round(float(values.mean()), 3)
                if len(values) > 1:
                    found[f"{kind}_se"] = round(float(values.std(ddof=1) / len(values) ** 0.5), 3)
            out[group][name] = found
    return out


def cost(codec: Any) -> dict[str, dict[str, float]]:
    """Processor seconds of 30 s of sound, least of three rounds in turn."""
    models = {"specvae": codec}
    for name, width in OOBLECKS.items():
        size = OobleckConfig(channels=32, wave_channels=1, width=width, strides=(2, 4, 4, 4, 8))
        models[name] = Oobleck(size, rate=RATE).eval().requires_grad_(False)
    wave = 0.1 * torch.randn(1, 1, 646 * HOP, generator=torch.Generator().manual_seed(0))
    latent = codec.encode(wave).mean
    out: dict[str, dict[str, float]] = {
        name: {"parameters": sum(p.numel() for p in model.parameters()), "encode_s": 1e9, "decode_s": 1e9}
        for name, model in models.items()
    }
    for _ in range(3):
        for name, model in models.items():
            out[name]["encode_s"] = min(out[name]["encode_s"], spent(lambda m=model: m.encode(wave)))  # type: ignore[misc]
            out[name]["decode_s"] = min(out[name]["decode_s"], spent(lambda m=model: m.decode(latent)))  # type: ignore[misc]
    for name in OOBLECKS:
        out[name]["decode_ratio"] = round(out[name]["decode_s"] / out["specvae"]["decode_s"], 2)
        out[name]["encode_ratio"] = round(out[name]["encode_s"] / out["specvae"]["encode_s"], 2)
    return {name: {k: round(v, 4) for k, v in row.items()} for name, row in out.items()}


def spent(run: Callable[[], Any]) -> float:
    """Seconds of processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def summary(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """A table for the eye: error / loud / lsd."""
    names = [name for name in next(iter(groups.values())) if name != "n"]
    lines = [f"{'error / loud / lsd, dB':20s}" + "".join(f"{group:>22s}" for group in groups)]
    for name in names:
        cells = (
            " / ".join(f"{row[name][kind]:.2f}" for kind in ("error", "loud", "lsd"))
            for row in groups.values()
        )
        lines.append(f"{name:20s}" + "".join(f"{cell:>22s}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--songs", type=int, default=4, help="test songs of the corpus")
    parser.add_argument("--weights", type=Path, default=shipped("codec") / "model.safetensors")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    codec = load_codec(args.weights)
    with torch.no_grad():
        speed = cost(codec)
    print(json.dumps(speed, indent=1), flush=True)
    rows = reconstruction(codec, args.corpus, args.songs)
    groups = means(rows)
    print(summary(groups))
    if args.write:
        found = {
            "what": "log-spectral error in dB and processor seconds; see tests/benchmarks/music_codec.py",
            "torch": torch.__version__,
            "machine": platform.machine(),
            "weights_sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
            "numbers_a_second": {
                "codec": round(codec.channels * RATE / HOP),
                **{name: round(bands * RATE / hop) for name, (bands, hop) in MELS.items()},
            },
            "cost": speed,
            "groups": groups,
            "files": [
                {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows
            ],
        }
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
