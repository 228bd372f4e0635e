"""What the recogniser hears in a recording, and the words of lyrics aligned to it."""

from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError
from domains.music.audio import read_audio
from domains.music.lrc.events import Lyrics
from domains.music.lrc.fit import Fitted, fit_lyrics
from domains.music.recogniser import SILENCE, Heard, label_of
from domains.music.workflows.opening import open_recogniser

__all__ = ["Listening", "listen"]

SHORTEST_S = 0.1  # a few frames of the recogniser


@dataclass(frozen=True)
class Listening:
    """A recording as the recogniser hears it."""

    heard: Heard
    seconds: float
    warnings: tuple[str, ...]
    device: str

    def fit(self, lyrics: Lyrics, language: str = "en") -> Fitted:
        """Times of all lines and words, in their order."""
        return fit_lyrics(
            self.heard.log_probs, self.heard.frame_s, lyrics, label_of, language=language, silence=SILENCE
        )


def listen(recording: Path, recogniser: str = "recogniser") -> Listening:
    """Read a recording and hear it.

    Raises:
        CheckpointError: no recogniser.
        DataError: the recording cannot be used.
    """
    model = open_recogniser(recogniser)
    wave = read_audio(recording)
    if wave.seconds < SHORTEST_S:
        raise DataError(f"{recording} lasts {wave.seconds:.3f} s; {SHORTEST_S:g} s or more can be heard.")
    return Listening(model.hear(wave.samples, wave.rate), wave.seconds, wave.warnings, "cpu")
