"""suffuse music compose, edit, extend, loop, relyric, accompany, variation, reproduce and models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.music_options import (
    AlignmentOption,
    Backing,
    Codec,
    Depth,
    DryRun,
    Folder,
    GuidanceOption,
    Hymn,
    Language,
    Latents,
    Lrc,
    Lufs,
    LyricsGuidance,
    Model,
    Negative,
    NoTile,
    Out,
    SectionStyle,
    Solver,
    Source,
    Stems,
    Steps,
    Strict,
    Style,
    StyleAudio,
    StyleGuidance,
    StyleLicence,
    Voice,
    Warp,
    Weights,
    given,
    ready_of,
    sampling_of,
    sections_from,
    spans_from,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()

Span = Annotated[
    list[str] | None,
    typer.Option("--span", help="start:end in seconds, may be repeated; :5 and 90: are edges."),
]


@app.command()
def compose(
    out: Out,
    lrc: Lrc = None,
    hymn: Hymn = None,
    style: Style = "",
    style_audio: StyleAudio = None,
    style_audio_licence: StyleLicence = "not stated",
    style_weight: Annotated[float, typer.Option(help="Of the recording, beside words, 0 to 1.")] = 0.5,
    section_style: SectionStyle = None,
    negative: Negative = "",
    style_weights: Weights = None,
    length: Annotated[
        float | None, typer.Option("--length", help="Seconds.", show_default="as the lyrics say")
    ] = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    lyrics_guidance: LyricsGuidance = None,
    style_guidance: StyleGuidance = None,
    warp: Warp = None,
    overlap: Annotated[
        float | None,
        typer.Option("--overlap", help="Seconds that tiles share.", show_default="3, at most a quarter"),
    ] = None,
    no_tile: NoTile = False,
    lufs: Lufs = None,
    depth: Depth = None,
    stems: Stems = True,
    latents: Latents = None,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compose a song from lyrics with time stamps and a style."""
    fields = {
        "style_audio": style_audio,
        "style_audio_licence": style_audio_licence,
        "style_weight": style_weight,
        "section_styles": sections_from(section_style),
        "style_folder": style_weights,
        "length_s": length,
        "overlap_s": overlap,
        "alignment": alignment,
        "strict": strict,
        "tile": not no_tile,
    }
    sampling = sampling_of(
        steps=steps,
        solver=solver,
        guidance=guidance,
        lyrics_guidance=lyrics_guidance,
        style_guidance=style_guidance,
        warp=warp,
    )
    words = _words(lrc, hymn)
    common = {"style": style, "negative": negative, "language": language, "codec": codec, "model": model}
    request = {"operation": "compose", "lyrics": words, "sampling": sampling, **common, **fields}
    writing = {"out": out, "lufs": lufs, "depth": depth, "stems": stems, "latents": latents}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(request, writing, run=run, seed=seed, device=device, **flags)


@app.command()
def edit(
    source: Source,
    out: Out,
    span: Span = None,
    lrc: Lrc = None,
    style: Style = "",
    negative: Negative = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    no_tile: NoTile = False,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw spans of a song anew; the rest keeps every bit of its wave, beyond fades of 20 ms."""
    fields = {"spans": spans_from(span), "strict": strict, "alignment": alignment, "tile": not no_tile}
    sampling = sampling_of(steps=steps, solver=solver, guidance=guidance)
    common = {"style": style, "negative": negative, "language": language, "codec": codec, "model": model}
    recording = {"source": source, "voice": voice, "backing": backing}
    request = {
        "operation": "edit",
        "lyrics": _words(lrc),
        "sampling": sampling,
        **common,
        **recording,
        **fields,
    }
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(request, {"out": out, "depth": depth, "stems": stems}, run=run, seed=seed, device=device, **flags)


@app.command()
def extend(
    source: Source,
    out: Out,
    left: Annotated[float, typer.Option("--left", min=0, help="Seconds before the beginning.")] = 0.0,
    right: Annotated[float, typer.Option("--right", min=0, help="Seconds after the end.")] = 0.0,
    lrc: Lrc = None,
    style: Style = "",
    negative: Negative = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    no_tile: NoTile = False,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on after the end of a song, or begin before its beginning; stamps are those of the new song."""
    fields = {"left_s": left, "right_s": right, "strict": strict, "tile": not no_tile}
    sampling = sampling_of(steps=steps, solver=solver, guidance=guidance)
    common = {"style": style, "negative": negative, "language": language, "codec": codec, "model": model}
    recording = {"source": source, "voice": voice, "backing": backing}
    request = {"operation": "extend", "lyrics": _words(lrc), "sampling": sampling, **common, **recording}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(
        {**request, **fields},
        {"out": out, "depth": depth, "stems": stems},
        run=run,
        seed=seed,
        device=device,
        shift_s=left,
        **flags,
    )


@app.command()
def loop(
    source: Source,
    out: Out,
    seam: Annotated[float, typer.Option("--seam", help="Seconds drawn anew around the turn.")] = 2.0,
    bars: Annotated[int | None, typer.Option("--bars", min=1, help="Take so many bars of the song.")] = None,
    bpm: Annotated[
        float | None,
        typer.Option("--bpm", min=20, max=300, help="For --bars.", show_default="as the lyrics say"),
    ] = None,
    beats: Annotated[int, typer.Option("--beats", min=1, max=12, help="Beats a bar.")] = 4,
    start: Annotated[float, typer.Option("--start", min=0, help="Where the bars begin, s.")] = 0.0,
    lrc: Lrc = None,
    style: Style = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    steps: Steps = None,
    guidance: GuidanceOption = None,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a song, or some bars of it, lead back into its own beginning."""
    fields: dict[str, Any] = {"seam_s": seam}
    if bars is not None:
        fields["crop"] = _bars(source, _words(lrc), bars, bpm, beats, start)
    common = {"style": style, "language": language, "codec": codec, "model": model}
    recording = {"source": source, "voice": voice, "backing": backing}
    sampling = sampling_of(steps=steps, guidance=guidance)
    request = {"operation": "loop", "lyrics": _words(lrc), "sampling": sampling, **common, **recording}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    writing = {"out": out, "depth": depth, "stems": stems}
    shift = -start if bars is not None else 0.0
    _make({**request, **fields}, writing, run=run, seed=seed, device=device, shift_s=shift, **flags)


@app.command()
def relyric(
    source: Source,
    out: Out,
    lrc: Annotated[Path | None, typer.Option("--lrc", help="The new words.", show_default=False)] = None,
    hymn: Hymn = None,
    span: Span = None,
    style: Style = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Sing other words on the same accompaniment; needs its two stems."""
    words = _words(lrc, hymn)
    if not words:
        from core.errors import ConfigError

        raise ConfigError("new words are missing.", hint="Give them with --lrc or --hymn.")
    fields = {"spans": spans_from(span), "strict": strict, "alignment": alignment}
    common = {"style": style, "language": language, "codec": codec, "model": model}
    recording = {"source": source, "voice": voice, "backing": backing}
    sampling = sampling_of(steps=steps, guidance=guidance)
    request = {"operation": "relyric", "lyrics": words, "sampling": sampling, **common, **recording, **fields}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(request, {"out": out, "depth": depth, "stems": stems}, run=run, seed=seed, device=device, **flags)


@app.command()
def accompany(
    source: Source,
    out: Out,
    style: Style = "",
    span: Span = None,
    lrc: Lrc = None,
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    steps: Steps = None,
    guidance: GuidanceOption = None,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Play other music under the same voice; needs its two stems."""
    common = {"style": style, "language": language, "codec": codec, "model": model}
    recording = {"source": source, "voice": voice, "backing": backing, "spans": spans_from(span)}
    sampling = sampling_of(steps=steps, guidance=guidance)
    request = {"operation": "accompany", "lyrics": _words(lrc), "sampling": sampling, **common, **recording}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(request, {"out": out, "depth": depth, "stems": stems}, run=run, seed=seed, device=device, **flags)


@app.command()
def variation(
    source: Source,
    out: Out,
    strength: Annotated[float, typer.Option("--strength", help="Noise to begin from, over 0 to 1.")] = 0.6,
    style: Style = "",
    lrc: Lrc = None,
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    steps: Steps = None,
    guidance: GuidanceOption = None,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make the song again, from as much noise as asked."""
    common = {"style": style, "language": language, "codec": codec, "model": model, "strength": strength}
    recording = {"source": source, "voice": voice, "backing": backing}
    sampling = sampling_of(steps=steps, guidance=guidance)
    request = {"operation": "variation", "lyrics": _words(lrc), "sampling": sampling, **common, **recording}
    flags = {"dry_run": dry_run, "force": force, "quiet": quiet, "as_json": as_json}
    _make(request, {"out": out, "depth": depth, "stems": stems}, run=run, seed=seed, device=device, **flags)


@app.command()
def reproduce(
    sidecar: Annotated[Path, typer.Argument(help="The .json beside a generated song.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New copy.", show_default="SONG-again beside it")
    ] = None,
    run: Folder = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="the first one's"),
    ] = None,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a song again from its sidecar; on a CPU the samples are the same to the last bit."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import reproduce_file

    song = sidecar.with_suffix("")
    target = out or song.with_name(f"{song.stem}-again{song.suffix}")
    folder = run or default_folder(target)
    config = {"sidecar": str(sidecar)}
    with claimed(folder, command="music reproduce", config=config, force=force, quiet=quiet) as claim:
        report = reproduce_file(
            sidecar,
            target,
            device=device,
            overwrite=force,
            folder=folder,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the parts that ship, and what they score; the hymns whose words ship."""
    from apps.show import show
    from domains.music.hymns import hymns
    from domains.music.weights import cards, summaries

    listed = {"models": summaries(), "hymns": [{"hymn": name} for name in hymns()]}
    show({**listed, "scores": cards()} if as_json else listed, as_json=as_json)


def _words(lrc: Path | None, hymn: str | None = None) -> str:
    from domains.music.workflows import lyrics_text

    return lyrics_text(lrc, hymn)


def _bars(
    source: Path, words: str, bars: int, bpm: float | None, beats: int, start: float
) -> tuple[float, float]:
    """Seconds of the bars that a loop takes."""
    from core.errors import ConfigError
    from domains.music.lrc import parse
    from domains.music.lrc.draft import seconds_of_bars
    from domains.music.workflows import inherited

    lyrics = words or str(inherited({"source": source})[0].get("lyrics", ""))
    found = bpm if bpm is not None else _number(parse(lyrics)[0].meta.get("bpm"))
    if found is None:
        raise ConfigError("bars need a tempo.", hint="Give --bpm, or [bpm:...] in the lyrics.")
    return start, start + seconds_of_bars(bars, found, beats)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _make(
    request: dict[str, Any],
    writing: dict[str, Any],
    *,
    run: Path | None,
    seed: int,
    device: str,
    dry_run: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
    shift_s: float = 0.0,
) -> None:
    """Run one request and show what came of it."""
    from apps.claim import claimed, default_folder
    from apps.show import say, show
    from domains.music.config import checked
    from domains.music.request import SongRequest
    from domains.music.workflows import Writing, inherited, song_file

    whole, notes = inherited(given(request), shift_s=shift_s)
    asked = checked(SongRequest, {**whole, "seed": seed, "device": device})
    out = writing["out"]
    folder = run or default_folder(out)
    for line in notes:
        say(line, quiet=quiet)
    config = asked.model_dump(mode="json")
    command = f"music {asked.operation}"
    with claimed(folder, command=command, config=config, seed=seed, force=force, quiet=quiet) as claim:
        report = song_file(
            asked,
            Writing(**writing, overwrite=force),
            folder=folder,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("samples_sha256", "style_audio", "inputs", "warnings", "notes")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=folder)
