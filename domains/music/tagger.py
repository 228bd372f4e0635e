"""Style of a wave, and of words, in one space of 128 numbers.

    audio    log-mel (64 bands, 43 Hz) -> strided convolutions -> mean and deviation over time,
             and the autocorrelation of the onset strength at 64 tempi -> 128 numbers
    words    one vector a tag, summed, through a small network -> 128 numbers
    heads    the tag of each field from the audio, for accuracy of style

Both towers end on the unit sphere; training draws a clip and the tags it has together and parts it from the
others. The last layer before the sphere gives the embedding whose Frechet distance is called FAD-own.

Source: Radford et al. 2021 (CLIP), arXiv:2103.00020, section 2.3, here with tags in place of text.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import ConfigError, unknown
from core.process import Karras
from core.train.checkpoint import Checkpoint, fill, load, save
from domains.music.mel import BANDS, MEL_RATE, at_rate, log_mel
from domains.music.style import Tagged

__all__ = ["VOCABULARY", "Tagger", "TaggerConfig", "load_tagger", "rhythm", "save_tagger"]

ROLE = "tagger"
TEMPI, SLOWEST_BPM, FASTEST_BPM = 64, 20.0, 240.0
VOCABULARY: dict[str, tuple[str, ...]] = {
    "instrument": ("guitar-pop", "organ", "piano", "strings", "synth-pop"),
    "mode": ("major", "minor"),
    "tempo": ("fast", "medium", "slow"),
    "voice": ("female", "male"),
}


@dataclass(frozen=True)
class TaggerConfig:
    """Size of the network, and the tags it knows by field."""

    width: int = 96
    length: int = 128
    vocabulary: Mapping[str, tuple[str, ...]] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        given = VOCABULARY if self.vocabulary is None else self.vocabulary
        object.__setattr__(self, "vocabulary", {name: tuple(tags) for name, tags in given.items()})
        if self.width < 1 or self.length < 2 or not all(self.vocabulary.values()):
            raise ConfigError(f"a tagger needs a width, a length of 2 or more, and tags, got {self}.")

    @property
    def tags(self) -> list[str]:
        """Every tag, in the order of its number."""
        return [tag for tags in self.vocabulary.values() for tag in tags]


class Tagger(nn.Module):
    """Two towers and heads; see the module docstring."""

    def __init__(self, config: TaggerConfig | None = None) -> None:
        super().__init__()
        self.settings = config or TaggerConfig()
        self.process = Karras()  # the trainer stores one; this network has no noise
        width, length = self.settings.width, self.settings.length
        sizes = [BANDS, width, width, width, width]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 5, padding=2) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.pooled = nn.Sequential(
            nn.Linear(4 * width + TEMPI, 2 * length), nn.GELU(), nn.Linear(2 * length, length)
        )
        self.words = nn.Embedding(len(self.settings.tags), length)
        self.words_out = nn.Sequential(nn.Linear(length, length), nn.GELU(), nn.Linear(length, length))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(length, len(tags)) for name, tags in self.settings.vocabulary.items()}
        )
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, mel: Tensor) -> Tensor:
        """Embedding (B, length), not normalised, of log-mel (B, 64, T); its level does not matter."""
        x = (mel - mel.mean((1, 2), keepdim=True)) / 3
        kept = [rhythm(mel)]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = F.gelu(norm(conv(x).transpose(1, 2)).transpose(1, 2))
            x = y if i == 0 else x + y
            if i in (0, 3):
                kept += [x.mean(-1), x.std(-1)]
            if i < 3:
                x = F.avg_pool1d(x, 2, ceil_mode=True)
        return self.pooled(torch.cat(kept, 1))

    def tag_vectors(self, given: Tensor) -> Tensor:
        """Unit vectors (B, length) of multi-hot tags (B, number of tags)."""
        return F.normalize(self.words_out(given @ self.words.weight), dim=1)

    def given(self, tags: Mapping[str, str]) -> Tensor:
        """Tags by field as a multi-hot vector, (number of tags,).

        Raises:
            ConfigError: a field or a tag is unknown.
        """
        out = torch.zeros(len(self.settings.tags))
        for name, tag in tags.items():
            if name not in self.settings.vocabulary:
                raise unknown("field of style", name, self.settings.vocabulary)
            if tag not in self.settings.vocabulary[name]:
                raise unknown(name, tag, self.settings.vocabulary[name])
            out[self.settings.tags.index(tag)] = 1.0
        return out

    @torch.no_grad()
    def embed_audio(self, samples: Tensor, rate: int) -> Tensor:
        """Embedding of a recording, (length,), not normalised; (channels, T) or (T,) at `rate` Hz."""
        return self(log_mel(at_rate(samples, rate))[None])[0]

    @torch.no_grad()
    def embed_tags(self, words: str) -> Tensor:
        """Unit vector of words parted by commas, (length,).

        Raises:
            ConfigError: a word is no tag; names the nearest one.
        """
        given = torch.zeros(len(self.settings.tags))
        for word in filter(None, (part.strip().lower() for part in words.split(","))):
            if word not in self.settings.tags:
                raise unknown("style tag", word, self.settings.tags)
            given[self.settings.tags.index(word)] = 1.0
        return self.tag_vectors(given[None])[0]

    @torch.no_grad()
    def classify(self, samples: Tensor, rate: int) -> dict[str, dict[str, float]]:
        """Probability of every tag, by field."""
        hidden = self.embed_audio(samples, rate)
        out = {}
        for name, tags in self.settings.vocabulary.items():
            probs = torch.softmax(self.heads[name](hidden), -1).tolist()
            out[name] = dict(zip(tags, probs, strict=True))
        return out

    def style(self) -> Tagged:
        """The space as a style encoder of song models."""
        return Tagged(self.settings.length, self.embed_audio, self.embed_tags)


def rhythm(mel: Tensor) -> Tensor:
    """Autocorrelation of the onset strength of log-mel (B, 64, T) at 64 tempi from 20 to 240 bpm, (B, 64).

    Read between the two nearest lags; 1 where the strength repeats exactly. A net of short reach cannot see
    how far beats lie apart, and few songs teach it the wrong cues.
    """
    rise = F.relu(mel.diff(dim=-1)).mean(1)
    rise = rise - rise.mean(-1, keepdim=True)
    n = rise.shape[-1]
    auto = torch.fft.irfft(torch.fft.rfft(rise, 2 * n).abs().square(), 2 * n)[:, :n]
    auto = auto / torch.arange(n, 0, -1, device=mel.device)
    auto = auto / auto[:, :1].clamp(min=1e-8)
    bpm = SLOWEST_BPM * (FASTEST_BPM / SLOWEST_BPM) ** torch.linspace(0, 1, TEMPI, device=mel.device)
    lag = (60 * MEL_RATE / bpm).clamp(max=n - 1)
    low = lag.floor().long().clamp(max=max(n - 2, 0))
    return torch.lerp(auto[:, low], auto[:, (low + 1).clamp(max=n - 1)], lag - low)


def save_tagger(path: Path, model: Tagger, checkpoint: Checkpoint) -> None:
    """Write a tagger in half precision with the record of its training."""
    weights = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    net: dict[str, Any] = {"kind": ROLE, **asdict(model.settings)}
    save(path, Checkpoint(**{**vars(checkpoint), "weights": weights, "role": ROLE, "net": net}))


def load_tagger(path: Path) -> Tagger:
    """Read a tagger.

    Raises:
        CheckpointError: the file is missing or truncated, or holds no tagger.
    """
    checkpoint = load(path, role=ROLE)
    net = checkpoint.net
    model = Tagger(TaggerConfig(net["width"], net["length"], net["vocabulary"]))
    fill(model, checkpoint.weights)
    return model.eval().requires_grad_(False)
