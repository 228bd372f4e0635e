"""FluidSynth through its C library: notes in, samples out, without a file between.

The sound font is loaded once in a process. Events start on the 64-sample blocks of the synthesiser (2.9 ms).

Source: FluidSynth 2.3, `fluidsynth.h`.
"""

import ctypes
import ctypes.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtra
from domains.music.render.arrange import DRUMS, Play

__all__ = ["available", "find_font", "play"]

RATE = 22050
FOLDERS = ("/usr/share/sounds/sf2", "/usr/local/share/sounds/sf2", "/usr/share/soundfonts")
FONTS = ("TimGM6mb.sf2", "default-GM.sf2", "FluidR3_GM.sf2")
_HINT = "Install the Debian packages: apt install fluidsynth timgm6mb-soundfont"


def find_font() -> Path:
    """The first General MIDI sound font of the usual folders.

    Raises:
        MissingExtra: there is none.
    """
    for name in FONTS:
        for folder in FOLDERS:
            path = Path(folder) / name
            if path.is_file():
                return path
    raise MissingExtra("no General MIDI sound font (.sf2) was found.", hint=_HINT)


@cache
def _library() -> ctypes.CDLL:
    """Load FluidSynth and declare the calls used.

    Raises:
        MissingExtra: the shared library is absent.
    """
    for name in ("libfluidsynth.so.3", ctypes.util.find_library("fluidsynth")):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        pointer, text, number, whole = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double, ctypes.c_int
        signatures = {
            "new_fluid_settings": (pointer, []),
            "fluid_settings_setnum": (whole, [pointer, text, number]),
            "fluid_settings_setint": (whole, [pointer, text, whole]),
            "new_fluid_synth": (pointer, [pointer]),
            "fluid_synth_sfload": (whole, [pointer, text, whole]),
            "fluid_synth_noteon": (whole, [pointer, whole, whole, whole]),
            "fluid_synth_noteoff": (whole, [pointer, whole, whole]),
            "fluid_synth_program_change": (whole, [pointer, whole, whole]),
            "fluid_synth_system_reset": (whole, [pointer]),
            "fluid_synth_write_float": (whole, [pointer, whole, *(pointer, whole, whole) * 2]),
            "fluid_set_log_function": (pointer, [whole, pointer, pointer]),
        }
        for call, (result, arguments) in signatures.items():
            function = getattr(library, call)
            function.restype, function.argtypes = result, arguments
        for level in (2, 3, 4):  # warnings, information, debugging: kept off standard error
            library.fluid_set_log_function(level, None, None)
        return library
    raise MissingExtra("the synthesiser 'libfluidsynth' is not installed.", hint=_HINT)


@cache
def _synth(font: Path) -> int:
    """A synthesiser with a font loaded, as an address.

    Raises:
        MissingExtra: the library is absent, or the font cannot be loaded.
    """
    library = _library()
    settings = library.new_fluid_settings()
    library.fluid_settings_setnum(settings, b"synth.sample-rate", float(RATE))
    library.fluid_settings_setnum(settings, b"synth.gain", 0.5)
    library.fluid_settings_setint(settings, b"synth.chorus.active", 0)
    synth = library.new_fluid_synth(settings)
    if library.fluid_synth_sfload(synth, str(font).encode(), 1) < 0:
        raise MissingExtra(f"the sound font {font} could not be loaded.", hint=_HINT)
    return int(synth)


def available() -> bool:
    """Whether the library and a sound font are there."""
    try:
        find_font()
        _library()
    except MissingExtra:
        return False
    return True


def play(notes: Iterable[Play], duration_s: float, *, font: Path | None = None) -> NDArray[np.float64]:
    """Play notes offline.

    Args:
        notes: in any order.
        duration_s: length of the result; later sound is cut.
        font: a .sf2 file, by default the first of the usual folders.

    Returns:
        The mean of both channels, (duration_s * 22,050,) float64.

    Raises:
        MissingExtra: FluidSynth or a sound font is absent.
    """
    library = _library()
    synth = _synth(font or find_font())
    library.fluid_synth_system_reset(synth)
    total = round(duration_s * RATE)
    events: list[tuple[int, int, Play]] = []
    for note in notes:
        events.append((round(note.start_s * RATE), 1, note))
        events.append((round(note.end_s * RATE), 0, note))
    events.sort(key=lambda event: event[:2])
    left, right = np.zeros(total, np.float32), np.zeros(total, np.float32)
    programs: dict[int, int] = {}
    now = 0
    for at, is_on, note in events:
        now = _write(library, synth, left, right, now, min(at, total))
        if is_on:
            if note.channel != DRUMS and programs.get(note.channel) != note.program:
                library.fluid_synth_program_change(synth, note.channel, note.program)
                programs[note.channel] = note.program
            library.fluid_synth_noteon(synth, note.channel, note.pitch, note.velocity)
        else:
            library.fluid_synth_noteoff(synth, note.channel, note.pitch)
    _write(library, synth, left, right, now, total)
    return (left.astype(np.float64) + right) / 2


def _write(
    library: ctypes.CDLL,
    synth: int,
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    start: int,
    end: int,
) -> int:
    """Let the synthesiser fill samples start to end of both channels."""
    if end > start:
        library.fluid_synth_write_float(
            synth, end - start, left.ctypes.data, start, 1, right.ctypes.data, start, 1
        )
    return max(start, end)
