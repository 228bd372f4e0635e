"""From the options of a command to a song: one way for every command that makes one.

An option bears the name of the field that it sets in `SongRequest`, `Sampling` or `Writing`, so what was
parsed is sorted by name and nothing is spelt twice. What was not given leaves the defaults alone.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import typer

from apps.commands.music_options import given, ready_of, sampling_of, sections_from, spans_from

__all__ = ["make", "words_of"]

SAMPLING = ("steps", "solver", "guidance", "lyrics_guidance", "style_guidance", "warp")
WRITING = ("out", "lufs", "depth", "stems", "latents")
SEARCH = ("search", "verifier", "second", "budget", "recogniser", "tagger", "calibration")
HIDDEN = ("samples_sha256", "style_audio", "inputs", "warnings", "notes")  # but for --json


def make(
    context: typer.Context,
    operation: str,
    *,
    fields: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
    shift_s: float = 0.0,
) -> None:
    """Make the song that a command's options ask for, and show what came of it.

    Args:
        context: of the command; holds its options.
        fields: of the request, that the command worked out itself.
        without: options that the command used up for that.
        shift_s: added to the stamps of inherited lyrics.
    """
    from apps.claim import claimed, default_folder
    from apps.show import say, show
    from domains.music.config import checked
    from domains.music.request import SongRequest
    from domains.music.workflows import Writing, inherited, song_file

    options = {name: value for name, value in context.params.items() if name not in without}

    def taken(names: Collection[str]) -> dict[str, Any]:
        return {name: options.pop(name) for name in names if name in options}

    own, writing, search = taken(("seed", "device")), taken(WRITING), taken(SEARCH)
    run, force, quiet = options.pop("run"), options.pop("force"), options.pop("quiet")
    dry_run, as_json = options.pop("dry_run"), options.pop("as_json")
    request = {
        "operation": operation,
        "lyrics": words_of(options.pop("lrc"), options.pop("hymn", None)),
        "sampling": sampling_of(**taken(SAMPLING)),
        "tile": not options.pop("no_tile", False),
        "spans": spans_from(options.pop("spans", None)),
        "section_styles": sections_from(options.pop("section_styles", None)),
        "search": _search(search) if search else None,
        **options,
        **(fields or {}),
    }
    whole, notes = inherited(given(request), shift_s=shift_s)
    asked = checked(SongRequest, {**whole, **own})
    out: Path = writing["out"]
    folder = run or default_folder(out)
    for line in notes:
        say(line, quiet=quiet)
    config = asked.model_dump(mode="json")
    command = f"music {operation}"
    with claimed(folder, command=command, config=config, seed=asked.seed, force=force, quiet=quiet) as claim:
        report = song_file(
            asked,
            Writing(**writing, overwrite=force),
            folder=folder,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        _draw_search(report, folder)
        claim.report(report)
    shown = report if as_json else {key: value for key, value in report.items() if key not in HIDDEN}
    show(shown, as_json=as_json, folder=folder)


def words_of(lrc: Path | None, hymn: str | None = None) -> str:
    """Text of the lyrics that a command names."""
    from domains.music.workflows import lyrics_text

    return lyrics_text(lrc, hymn)


def _search(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Options of a search as fields of `NoiseSearch`; None where none is asked for."""
    from apps.search_options import method_of, refuse_without_search

    if options["search"] is None:
        refuse_without_search(
            {f"--{name}": options[name] or None for name in ("verifier", "second", "budget")}
        )
        return None
    method, runs = method_of(options["search"], options["budget"])
    listed = ",".join(options["verifier"] or ()).split(",")
    names = tuple(dict.fromkeys(name.strip() for name in listed if name.strip()))
    kept = {name: options[name] for name in ("second", "budget", "recogniser", "tagger", "calibration")}
    return {"method": method, "runs": runs, "verifiers": names, **given(kept)}


def _draw_search(report: Mapping[str, Any], folder: Path) -> None:
    """Draw every candidate of a search, where there was one; see `apps.search_plot`."""
    if "candidates" not in report:
        return
    from apps.search_plot import plot_search

    first, second = report["search"]["verifiers"][0], report["search"]["second"]
    rows = [
        {
            "sample": row["tile"],
            "evaluations": row["evaluations"],
            "score": row[first],
            "second": row.get(second),
            "final": row["final"],
        }
        for row in report["candidates"]
    ]
    plot_search(rows, folder / "search.png", searched=first, second=second)
