"""The speech library: phones of known words, in time, and errors that name what is missing."""

import ctypes

import numpy as np
import pytest

from core.errors import ConfigError
from domains.music.phones import espeak

pytestmark = pytest.mark.skipif(
    not espeak.available(), reason="needs the Debian package espeak-ng (libespeak-ng.so.1)"
)


def test_words_become_lists_of_phones_without_stress() -> None:
    assert espeak.transcribe("Church, glory!", "en-us") == [["tʃ", "ɜː", "tʃ"], ["ɡ", "l", "oː", "ɹ", "i"]]


def test_a_borrowed_word_leaves_no_language_mark() -> None:
    phones = espeak.transcribe("le weekend", "fr")
    assert not any("(" in phone for word in phones for phone in word)


def test_phones_follow_one_another_inside_the_sound() -> None:
    speech = espeak.speak("glorious little", "en-us+f3")
    assert [phone.ipa for phone in speech.phones][:4] == ["ɡ", "l", "oː", "ɹ"]
    starts = [phone.start_s for phone in speech.phones]
    assert starts == sorted(starts)
    assert all(a.end_s <= b.start_s for a, b in zip(speech.phones, speech.phones[1:], strict=False))
    assert speech.phones[-1].end_s <= len(speech.samples) / espeak.RATE


def test_a_call_that_lost_its_first_phones_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken, calls = espeak._spoken, []

    def lossy(library: ctypes.CDLL, text: str) -> espeak.Speech:
        calls.append(text)
        speech = spoken(library, text)
        return speech if len(calls) > 1 else espeak.Speech(speech.samples, speech.phones[2:])

    monkeypatch.setattr(espeak, "_spoken", lossy)
    speech = espeak.speak("glorious little", "en-us+f3")
    assert [phone.ipa for phone in speech.phones][:4] == ["ɡ", "l", "oː", "ɹ"]
    assert len(calls) == 2
    espeak.speak("glorious little", "en-us+f3")
    assert len(calls) == 3


def test_a_vowel_is_louder_than_the_stop_before_it() -> None:
    speech = espeak.speak("pa", "en-us")
    first, vowel = speech.phones[0], speech.phones[1]

    def loudness(phone: espeak.Phone) -> float:
        cut = speech.samples[int(phone.start_s * espeak.RATE) : int(phone.end_s * espeak.RATE)]
        return float(np.sqrt(np.mean(cut**2)))

    assert loudness(vowel) > 2 * loudness(first)


def test_speaking_twice_gives_the_same_phone_times() -> None:
    once, again = espeak.speak("amen", "en-us+m3"), espeak.speak("amen", "en-us+m3")
    assert [(p.ipa, p.start_s) for p in once.phones] == [(p.ipa, p.start_s) for p in again.phones]


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(ConfigError, match="no voice 'nowhere'"):
        espeak.speak("a", "nowhere")


def test_a_speed_out_of_bounds_is_refused() -> None:
    with pytest.raises(ConfigError, match="words_per_minute"):
        espeak.speak("a", "en-us", words_per_minute=10)
