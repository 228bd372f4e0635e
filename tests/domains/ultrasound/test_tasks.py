"""The registry of tasks claims only what is there."""

import importlib
from dataclasses import FrozenInstanceError

import pytest
import typer

from apps.commands.ultrasound import app
from domains.ultrasound.tasks import TASKS, Task

COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
# The families that the specification names.
FAMILIES = (
    "generation", "denoising", "reconstruction", "inpainting", "super-resolution",
    "image-to-image translation", "anomaly detection", "segmentation", "registration", "classification",
)  # fmt: skip


def name(task: Task) -> str:
    return task.family.replace(" ", "-")


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_every_entry_leads_to_what_it_claims(task: Task) -> None:
    match task.status:
        case "command":
            assert task.entry is not None
            assert task.entry.split()[0] in COMMANDS
        case "library":
            assert task.entry is not None
            module, _, attribute = task.entry.rpartition(".")
            assert callable(getattr(importlib.import_module(module), attribute))
        case _:
            assert task.status == "not implemented"
            assert task.entry is None


def test_an_invented_entry_would_be_caught() -> None:
    with pytest.raises(AssertionError):
        test_every_entry_leads_to_what_it_claims(Task("denoising", "command", "denoise-everything", ""))
    with pytest.raises(AttributeError):
        test_every_entry_leads_to_what_it_claims(Task("generation", "library", "core.run.conjure", ""))
    with pytest.raises(AssertionError):
        test_every_entry_leads_to_what_it_claims(Task("registration", "not implemented", "align", ""))


def test_all_families_of_the_survey_are_listed_once() -> None:
    families = [task.family for task in TASKS]
    assert len(set(families)) == len(families)
    assert set(FAMILIES) <= set(families)


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_every_task_says_what_it_is_and_of_which_modality(task: Task) -> None:
    assert task.what
    assert not task.what.endswith(".")
    assert task.modalities
    assert set(task.to_dict()) == {"family", "status", "entry", "what", "modalities", "organs"}


def test_the_table_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TASKS[0].status = "command"  # type: ignore[misc]
