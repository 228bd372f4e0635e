"""What a wave sings: phones by frame from a small network, decoded freely or along given words.

    labels      0 silence (also the blank of CTC), then 40 phones that English singing tells apart
    network     log-mel (64 bands, 43 Hz) -> dilated convolutions -> log-probabilities of the labels
    greedy      the best label of each frame, repeats merged, silence dropped
    forced      the times of known phones: `lrc.fit.align` on the same log-probabilities

Phones are collapsed: length marks and stress fall, close neighbours of espeak-ng share a label ("oː" and
"ɔ"), and a label of two letters is a diphthong or an affricate. The phone error rate (PER) is the edit
distance between two sequences of labels over the length of the reference.

Sources: Graves et al. 2006 (CTC), doi:10.1145/1143844.1143891; Levenshtein 1966 (edit distance).
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import CheckpointError, ConfigError
from core.process import Karras
from core.train.checkpoint import Checkpoint, fill, load, save
from domains.music.mel import BANDS, MEL_RATE, at_rate, log_mel

__all__ = [
    "LABELS",
    "SILENCE",
    "Heard",
    "Recogniser",
    "RecogniserConfig",
    "collapse",
    "edit_distance",
    "greedy",
    "label_of",
    "labels_of",
    "load_recogniser",
    "per",
    "save_recogniser",
]

ROLE = "recogniser"
SILENCE = 0
FRAME_S = 1 / MEL_RATE
LABELS = (
    "",
    *("i", "ɪ", "eɪ", "ɛ", "æ", "ɑ", "ɔ", "oʊ", "u", "ʊ", "ʌ", "ə", "ɜ", "aɪ", "aʊ", "ɔɪ"),
    *("p", "b", "t", "d", "k", "ɡ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ", "tʃ", "dʒ", "h"),
    *("m", "n", "ŋ", "l", "ɹ", "w", "j"),
)
_NUMBER = {label: number for number, label in enumerate(LABELS)}
_MARKS = re.compile("[ːˑˈˌ̩̯̃ʲʰ.\u0361]")
_NEIGHBOURS = {
    **{
        "a": "ɑ",
        "ɒ": "ɑ",
        "ɐ": "ə",
        "ᵻ": "ɪ",
        "ɨ": "ɪ",
        "o": "ɔ",
        "e": "ɛ",
        "əl": "ə",
        "ɚ": "ɜ",
        "ɝ": "ɜ",
        "y": "i",
    },
    **{
        "iə": "i",
        "ɪə": "ɪ",
        "eə": "ɛ",
        "ʊə": "ʊ",
        "aɪə": "aɪ",
        "aɪɚ": "aɪ",
        "aʊɚ": "aʊ",
        "ɛə": "ɛ",
        "əʊ": "oʊ",
    },
    **{"ɑɹ": "ɑ", "ɔɹ": "ɔ", "oɹ": "ɔ", "ɪɹ": "ɪ", "ɛɹ": "ɛ", "ʊɹ": "ʊ", "aɪɹ": "aɪ", "iɹ": "i"},
    **{
        "ɾ": "d",
        "ʔ": "t",
        "x": "k",
        "ɬ": "l",
        "ɫ": "l",
        "r": "ɹ",
        "ʁ": "ɹ",
        "g": "ɡ",
        "c": "k",
        "q": "k",
        "ʀ": "ɹ",
    },
    **{
        "β": "v",
        "ɣ": "ɡ",
        "ʎ": "l",
        "ɲ": "n",
        "ç": "ʃ",
        "ɕ": "ʃ",
        "ʑ": "ʒ",
        "ʂ": "ʃ",
        "ʐ": "ʒ",
        "ʋ": "v",
        "ɦ": "h",
    },
    **{
        "ø": "ɜ",
        "œ": "ɜ",
        "ɯ": "u",
        "ɤ": "ʌ",
        "ai": "aɪ",
        "au": "aʊ",
        "ei": "eɪ",
        "oi": "ɔɪ",
        "ou": "oʊ",
        "ts": "s",
    },
    **{"tɹ": "t", "dɹ": "d", "dz": "z"},
}


def collapse(ipa: str) -> str | None:
    """The label of an IPA phone; None where there is none near."""
    plain = _MARKS.sub("", ipa)
    if plain in _NUMBER:
        return plain or None
    return _NEIGHBOURS.get(plain)


def label_of(ipa: str) -> int | None:
    """Number of an IPA phone's label, 1 to 40; None where there is none near."""
    label = collapse(ipa)
    return None if label is None else _NUMBER[label]


def labels_of(phones: Sequence[str]) -> list[int]:
    """Numbers of IPA phones; those without a label are passed over."""
    return [number for number in map(label_of, phones) if number is not None]


@dataclass(frozen=True)
class RecogniserConfig:
    """Size of the network: channels, and dilations of its blocks (kernel 5)."""

    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)

    def __post_init__(self) -> None:
        if self.width < 1 or not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"a recogniser needs a width and dilations of at least 1, got {self}.")


class Block(nn.Module):
    """x + W gelu(conv(norm(x))), the norm over channels at each frame."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) -> the same."""
        return x + self.out(F.gelu(self.conv(self.norm(x.transpose(1, 2)).transpose(1, 2))))


class Recogniser(nn.Module):
    """Log-mel (B, 64, T) to logits (B, T, labels)."""

    def __init__(self, config: RecogniserConfig | None = None) -> None:
        super().__init__()
        self.settings = config or RecogniserConfig()
        self.process = Karras()  # the trainer stores one; this network has no noise
        width = self.settings.width
        self.open = nn.Conv1d(BANDS, width, 5, padding=2)
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in self.settings.dilations)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, mel: Tensor) -> Tensor:
        """Logits of every frame; each band is centred on its mean over the clip first."""
        x = self.open((mel - mel.mean(-1, keepdim=True)) / 3)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.transpose(1, 2)))

    @torch.no_grad()
    def hear(self, samples: Tensor, rate: int) -> "Heard":
        """Log-probabilities of a recording.

        Args:
            samples: (channels, T) or (T,), full scale 1.
            rate: samples a second.
        """
        logits = self(log_mel(at_rate(samples, rate))[None])[0]
        return Heard(torch.log_softmax(logits, -1))


@dataclass(frozen=True)
class Heard:
    """What was heard: log-probabilities (T, labels), one frame every 23.2 ms."""

    log_probs: Tensor

    @property
    def frame_s(self) -> float:
        return FRAME_S

    def phones(self) -> list[int]:
        """Labels decoded greedily."""
        return greedy(self.log_probs)


def greedy(log_probs: Tensor) -> list[int]:
    """The best label of each frame, repeats merged, silence dropped; (T, labels) -> numbers."""
    best = torch.unique_consecutive(log_probs.argmax(-1)).tolist()
    return [label for label in best if label != SILENCE]


def edit_distance(reference: Sequence[int], heard: Sequence[int]) -> int:
    """Fewest insertions, deletions and substitutions from one sequence to the other."""
    row = np.arange(len(heard) + 1)
    other = np.asarray(heard, dtype=np.int64)
    for i, label in enumerate(reference, 1):
        change = np.minimum(row[:-1] + (other != label), row[1:] + 1)
        # Insertions run along the row: best[j] = min over k <= j of change[k] + (j - k).
        best = np.concatenate([[i], change])
        steps = np.arange(len(best))
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def per(reference: Sequence[int], heard: Sequence[int]) -> float:
    """Phone error rate: edit distance over the length of the reference; 1 for an empty answer, and above.

    Raises:
        ConfigError: the reference is empty.
    """
    if not reference:
        raise ConfigError("a phone error rate needs a reference with phones.")
    return edit_distance(reference, heard) / len(reference)


def save_recogniser(path: Path, model: Recogniser, checkpoint: Checkpoint) -> None:
    """Write a recogniser in half precision with the record of its training."""
    weights = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    net: dict[str, Any] = {"kind": ROLE, "labels": list(LABELS), **asdict(model.settings)}
    save(path, Checkpoint(**{**vars(checkpoint), "weights": weights, "role": ROLE, "net": net}))


def load_recogniser(path: Path) -> Recogniser:
    """Read a recogniser.

    Raises:
        CheckpointError: the file is missing or truncated, holds no recogniser, or one with other labels.
    """
    checkpoint = load(path, role=ROLE)
    if tuple(checkpoint.net.get("labels", ())) != LABELS:
        raise CheckpointError(
            f"{path.name} tells other phones apart than this version.", hint="Train the recogniser again."
        )
    config = RecogniserConfig(checkpoint.net["width"], tuple(checkpoint.net["dilations"]))
    model = Recogniser(config)
    fill(model, checkpoint.weights)
    return model.eval().requires_grad_(False)
