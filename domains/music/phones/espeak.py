"""espeak-ng through its C library: speech with exact phone times, and transcription of words to IPA phones.

The library is called in synchronous mode with phone events on, so one call returns the samples and, for each
phone, the sample at which it starts. Stress marks are dropped; a long vowel keeps its length mark and an
affricate or diphthong stays one phone ("tʃ", "eɪ").

Speaking a word twice gives the same phone times but not the same samples: the library's flutter of the pitch
and its noise run on from call to call.

The library keeps one voice and one text at a time: calls are serialised by a lock. Rarely, a call loses the
events of its first block, and with them the first phones; `speak` compares what it got with what the library
transcribes, and asks again where they differ.

Source: espeak-ng 1.51, `speak_lib.h` (API revision 12).
"""

import ctypes
import ctypes.util
import re
import threading
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, MissingExtra

__all__ = ["Phone", "Speech", "available", "speak", "transcribe", "voices"]

RATE = 22050  # samples a second of every formant voice of the library

_SYNCHRONOUS = 2
_PHONE_EVENTS, _IPA_EVENTS, _DO_NOT_EXIT = 0x1, 0x2, 0x8000
_UTF8 = 1
_IPA = 0x02
_SEPARATOR = "_"
_SPEED, _PITCH_RANGE = 1, 4  # espeak_PARAMETER: espeakRATE, espeakRANGE
_LAST, _PHONE = 0, 7  # espeak_EVENT_TYPE: espeakEVENT_LIST_TERMINATED, espeakEVENT_PHONEME
_TRIES = 4  # of one text, until its phones are those transcribed, or those of the try before
_LOCK = threading.RLock()
_MARKS = re.compile(r"[ˈˌ'\u200d]|\([a-z-]+\)")  # stress, joiners, and "(en)" where the language switches


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Phone:
    """One phone in time: IPA without stress, start and end in seconds."""

    ipa: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """Spoken text.

    Attributes:
        samples: (T,), float32 in [-1, 1], 22,050 a second.
        phones: in order; each ends where the next starts or a pause begins.
    """

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...]


class _Collector:
    """Samples and phone events of the call in progress."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.int16]] = []
        self.events: list[tuple[int, str]] = []

    def take(self, wave: "ctypes._Pointer[ctypes.c_short]", n: int, events: "ctypes._Pointer[_Event]") -> int:
        if wave and n > 0:
            self.blocks.append(np.ctypeslib.as_array(wave, (n,)).copy())
        i = 0
        while events[i].type != _LAST:
            if events[i].type == _PHONE:
                ipa = bytes(events[i].id.string).decode("utf-8", "ignore")
                self.events.append((events[i].sample, _MARKS.sub("", ipa)))
            i += 1
        return 0


_collector = _Collector()


def _collect(wave: "ctypes._Pointer[ctypes.c_short]", n: int, events: "ctypes._Pointer[_Event]") -> int:
    return _collector.take(wave, n, events)


_CALLBACK = _Callback(_collect)  # the library keeps the address, so this object must live as long as it does


@cache
def _library() -> ctypes.CDLL:
    """Load and start espeak-ng once.

    Raises:
        MissingExtra: the shared library or its voices are absent.
    """
    hint = "Install the Debian package espeak-ng (libespeak-ng1 and espeak-ng-data): apt install espeak-ng"
    for name in ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng")):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONE_EVENTS | _IPA_EVENTS | _DO_NOT_EXIT)
        if rate != RATE:
            raise MissingExtra(f"espeak-ng started with {rate} samples a second, not {RATE}.", hint=hint)
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        library.espeak_SetSynthCallback(_CALLBACK)
        return library
    raise MissingExtra("the speech library 'libespeak-ng' is not installed.", hint=hint)


def available() -> bool:
    """Whether the library is installed and starts."""
    try:
        _library()
    except MissingExtra:
        return False
    return True


@cache
def voices() -> frozenset[str]:
    """Language codes that the library knows, such as "en-us", "es" or "cmn".

    Raises:
        MissingExtra: espeak-ng is absent.
    """
    with _LOCK:
        listed = _library().espeak_ListVoices(None)
        names = set()
        i = 0
        while listed[i]:
            # `languages` is a list of (priority byte, code, 0), ended by a 0; the first is the main one.
            names.add(listed[i].contents.languages[1:].decode("utf-8", "ignore"))
            i += 1
        return frozenset(names)


def _choose(voice: str) -> ctypes.CDLL:
    """Select a voice.

    Raises:
        ConfigError: the library has no such voice.
        MissingExtra: espeak-ng is absent.
    """
    library = _library()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        known = ", ".join(sorted(voices()))
        raise ConfigError(f"espeak-ng has no voice '{voice}'.", hint=f"Languages: {known}.")
    return library


def speak(text: str, voice: str, *, words_per_minute: int = 120, pitch_range: int = 10) -> Speech:
    """Speak a text and say when each phone sounds.

    Args:
        text: words of one language.
        voice: language, and optionally a variant: "en-us", "en-us+f3".
        words_per_minute: speed, 80 to 450.
        pitch_range: 0 (monotone) to 99; 50 is the library's default.

    Raises:
        ConfigError: no such voice, or a speed or range outside its bounds.
        MissingExtra: espeak-ng is absent.
    """
    if not 80 <= words_per_minute <= 450 or not 0 <= pitch_range <= 99:
        raise ConfigError(
            f"words_per_minute must lie in [80, 450] and pitch_range in [0, 99], "
            f"got {words_per_minute} and {pitch_range}."
        )
    with _LOCK:
        wanted = [phone for word in transcribe(text, voice) for phone in word]
        library, last = _choose(voice), None
        library.espeak_SetParameter(_SPEED, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH_RANGE, pitch_range, 0)
        speech = _spoken(library, text)
        for _ in range(_TRIES - 1):
            heard = [phone.ipa for phone in speech.phones]
            if heard in (wanted, last):
                break
            speech, last = _spoken(library, text), heard
        return speech


def _spoken(library: ctypes.CDLL, text: str) -> Speech:
    """One call of the library in the voice that is set."""
    global _collector
    _collector = _Collector()
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
    blocks, events = _collector.blocks, _collector.events
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    # Positions are the library's own, rounded block by block: a phone never begins before the one before it.
    starts = list(accumulate((min(start, len(samples)) for start, _ in events), max))
    phones = tuple(
        Phone(ipa, start / RATE, end / RATE)
        for (_, ipa), start, end in zip(events, starts, [*starts[1:], len(samples)], strict=True)
        if ipa
    )
    return Speech((samples / 32768).astype(np.float32), phones)


def transcribe(text: str, language: str) -> list[list[str]]:
    """Phones of each word.

    Args:
        text: words; punctuation is read as pauses and leaves no phone.
        language: code of the library, such as "en-us", "es" or "cmn".

    Returns:
        One list of IPA phones for each word that the library speaks; digits and abbreviations may give more.

    Raises:
        ConfigError: no such language.
        MissingExtra: espeak-ng is absent.
    """
    words = []
    with _LOCK:
        library = _choose(language)
        buffer = ctypes.c_char_p(text.encode())
        rest = ctypes.pointer(buffer)
        while buffer.value is not None:
            mode = _IPA | ord(_SEPARATOR) << 8
            line = library.espeak_TextToPhonemes(rest, _UTF8, mode).decode("utf-8", "ignore")
            words += [[phone for phone in _phones(word) if phone] for word in line.split()]
    return [word for word in words if word]


def _phones(word: str) -> list[str]:
    """Split one transcribed word at the separators, without its marks."""
    return [_MARKS.sub("", phone) for phone in word.split(_SEPARATOR)]
