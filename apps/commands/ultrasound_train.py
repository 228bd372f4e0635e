"""suffuse ultrasound train, and config: the settings of training and of dehazing."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.ultrasound_dehaze import dehaze_settings
from apps.commands.ultrasound_options import Force, Out, RunDir, Settings
from apps.options import AsJson, Device, Quiet, Resume, Seed

app = typer.Typer()

Recipe = Annotated[str, typer.Option(help="demo, cpu or gpu: settings to start from.")]
Steps = Annotated[int | None, typer.Option(help="Training steps.", show_default="the recipe's")]
Batch = Annotated[int | None, typer.Option(help="Patches per step.", show_default="the recipe's")]
LearningRate = Annotated[
    float | None, typer.Option("--lr", help="Learning rate.", show_default="the recipe's")
]
Frames = Annotated[
    int | None,
    typer.Option(help="Frames to simulate without --data.", show_default="the recipe's"),
]
Patch = Annotated[
    str | None,
    typer.Option(help="Samples x lines, such as 48x32.", show_default="the recipe's"),
]
Net = Annotated[str | None, typer.Option(help="unet or monai.", show_default="the recipe's")]


@app.command()
def train(
    role: Annotated[str, typer.Argument(help="What the prior knows: tissue, haze, or bmode for pictures.")],
    out: Out,
    data: Annotated[
        Path | None,
        typer.Option(help="File or folder of lines.", show_default="simulated frames"),
    ] = None,
    domain: Annotated[str, typer.Option(help="iq or rf; recordings are converted.")] = "iq",
    recipe: Recipe = "cpu",
    steps: Steps = None,
    batch: Batch = None,
    lr: LearningRate = None,
    frames: Frames = None,
    patch: Patch = None,
    net: Net = None,
    config: Settings = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to go on from (fine-tuning).", show_default=False),
    ] = None,
    run: RunDir = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the prior of tissue, of haze, or of B-mode pictures that dehazing needs."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.ultrasound.workflows import train_file
    from domains.ultrasound.workflows.bmode import train_bmode_file

    work: Any = partial(train_file, role, domain=domain)  # type: ignore[arg-type]  # checked there
    if role == "bmode":
        work = train_bmode_file
    folder = run or default_folder(out)
    given = {
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "frames": frames,
        "patch": patch_of(patch),
        "net": net,
    }
    settings = _prior_settings(recipe, config, given)
    recorded = {"recipe": recipe, "role": role, "domain": domain, **settings.model_dump(mode="json")}
    with claimed(
        folder,
        command="ultrasound train",
        config=recorded,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        try:
            report = work(
                out,
                settings,
                data=data,
                start=start,
                folder=folder,
                resume=resume,
                overwrite=force,
                seed=seed,
                device=device,
                preset=recipe,
                ready=claim.ready,
                progress=claim.progress,
            )
        except KeyboardInterrupt as stop:
            newest = max(folder.glob("step-*.safetensors"), default=None)
            if newest is not None:
                stop.add_note(f"The newest checkpoint is {newest}; go on with the same command and --resume.")
            raise
        claim.report(report)
    show(report if as_json else _without(report, "warnings"), as_json=as_json, folder=folder)


@app.command("config")
def print_config(
    workflow: Annotated[str, typer.Argument(help="dehaze or train.")] = "dehaze",
    recipe: Recipe = "cpu",
    config: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings of a workflow as YAML, ready to be edited and given back with --config."""
    from apps.settings import to_yaml
    from apps.show import show
    from core.errors import unknown

    match workflow:
        case "dehaze":
            settings = dehaze_settings(config, {})
        case "train":
            settings = _prior_settings(recipe, config, {})
        case _:
            raise unknown("workflow", workflow, ("dehaze", "train"))
    values = settings.model_dump(mode="json")
    if as_json:
        show(values, as_json=True)
    else:
        print(to_yaml(values), end="")


def _prior_settings(recipe: str, file: Path | None, given: dict[str, Any]) -> Any:
    from apps.settings import merge
    from core.errors import unknown
    from domains.ultrasound.config import RECIPES, PriorConfig, checked

    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    preset = RECIPES[recipe].model_dump()
    return checked(PriorConfig, merge(PriorConfig.model_fields, given=given, file=file, preset=preset))


def patch_of(text: str | None) -> tuple[int, int] | None:
    """Samples and lines from "48x32"."""
    from core.errors import ConfigError

    if text is None:
        return None
    samples, _, lines = text.partition("x")
    if not (samples.isdigit() and lines.isdigit() and int(samples) > 0 and int(lines) > 0):
        raise ConfigError(f"a patch is samples x lines, such as 48x32, got '{text}'.")
    return int(samples), int(lines)


def _without(report: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in names}
