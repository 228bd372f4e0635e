"""What diffusion models are used for in medical imaging, task by task, and what of it runs here.

The families are those of a survey; each says what is implemented, by which command or which function, and for
which modality and organ it was made and measured. "not implemented" is a value, and the honest one where it
stands. A "command" is typed after `suffuse ultrasound`; a "library" entry is a Python name with no command.

Source of the families: Kazerouni et al. 2023, Medical Image Analysis 88, 102846, arXiv:2211.07804, section 4.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["TASKS", "Status", "Task"]

Status: TypeAlias = Literal["command", "library", "not implemented"]


@dataclass(frozen=True)
class Task:
    """One family of tasks.

    Attributes:
        family: its name in the survey.
        status: "command", "library" or "not implemented".
        entry: words after `suffuse ultrasound`, or a dotted Python name; None where nothing is implemented.
        what: what exactly is implemented, or what is missing.
        modalities: modalities it was made for.
        organs: organs it was made and measured for; empty where it does not depend on one.
    """

    family: str
    status: Status
    entry: str | None
    what: str
    modalities: tuple[str, ...] = ("ultrasound",)
    organs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


HEART = ("heart",)

TASKS: tuple[Task, ...] = (
    Task(
        "denoising",
        "command",
        "dehaze",
        "multipath haze removed from RF or IQ lines by joint posterior sampling of two priors",
        organs=HEART,
    ),
    Task(
        "denoising (video)",
        "command",
        "dehaze-video",
        "haze removed from films: nuclear diffusion, guidance by regions, four baselines",
        ("ultrasound B-mode",),
        HEART,
    ),
    Task(
        "anomaly detection",
        "command",
        "anomaly",
        "noise to a level, denoise, difference map",
        ("ultrasound B-mode",),
        HEART,
    ),
    Task(
        "generation",
        "command",
        "sample",
        "lines drawn from a prior, with noise search; pictures by core.run.sample and a prior of train bmode",
        ("ultrasound lines",),
        HEART,
    ),
    Task(
        "reconstruction",
        "command",
        "solve --operator mri",
        "undersampled k-space of a picture, simulated, by nine solvers; also --operator blur",
        ("any picture",),
    ),
    Task(
        "inpainting",
        "command",
        "solve --operator inpaint",
        "masked pixels, by nine solvers",
        ("any picture",),
    ),
    Task(
        "super-resolution",
        "command",
        "solve --operator sr4",
        "four times the rows and columns, by nine solvers",
        ("any picture",),
    ),
    Task("image-to-image translation", "not implemented", None, "no prior of two modalities"),
    Task("segmentation", "not implemented", None, "regions are read from files, not found"),
    Task("registration", "not implemented", None, "frames are not aligned"),
    Task("classification", "not implemented", None, "no classifier of pictures"),
    Task("text-to-image", "not implemented", None, "no prior conditioned on text"),
)
