"""Energies for generation, by the names of the command line, and training one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.denoise import Denoiser
from core.device import choose_device
from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.language.correction import corrected
from domains.language.energy import CausalEnergy
from domains.language.energy_training import load_energy, train_energy
from domains.language.formats.reading import Reading
from domains.language.generation import denoiser_of
from domains.language.radd import TextModel
from domains.language.sets import read_set
from domains.language.streams import blocks_of
from domains.language.token_files import divided
from domains.language.workflows.opening import open_model, tokens_of

__all__ = ["Correction", "energy_file"]

KINDS = ("ar", "coar", "nce")


@dataclass(frozen=True)
class Correction:
    """How draws are corrected.

    Args:
        kind: "ar", "coar" or "nce"; see `domains.language.energy`.
        model: the causal model of the first two, or the folder of a trained energy.
        candidates: texts that each step chooses from.
        window: share of the time, from the start, in which they are.
    """

    kind: str
    model: str
    candidates: int = 2
    window: float = 0.2

    def __str__(self) -> str:
        return f"energy {self.kind} of {self.model}, {self.candidates} candidates, window {self.window:g}"

    def steer(self, model: TextModel) -> Callable[[Denoiser], Denoiser]:
        """What `generate` does to the denoiser.

        Raises:
            ConfigError: an unknown kind, or a model of another tokenizer or kind.
        """
        if self.kind not in KINDS:
            raise unknown("energy", self.kind, KINDS)
        if model.config.kind != "radd":
            raise ConfigError("an energy corrects models of masks (kind 'radd').")
        energy: Any
        if self.kind == "nce":
            energy = load_energy(Path(self.model).expanduser(), model)
        else:
            judge = open_model(self.model, model.device)
            if judge.config.kind != "causal":
                raise ConfigError(f"{self.model} is no causal model.", hint="Train one with --model causal.")
            if judge.tokenizer.fingerprint != model.tokenizer.fingerprint:
                raise ConfigError(f"{self.model} has another tokenizer than the model that is corrected.")
            energy = CausalEnergy(judge.net, denoiser_of(model), carry=self.kind == "coar")
        return lambda denoiser: corrected(denoiser, energy, candidates=self.candidates, window=self.window)


def energy_file(
    run: str,
    source: str,
    folder: Path,
    *,
    reading: Reading = Reading(),
    steps: int = 500,
    batch: int = 32,
    lr: float = 3e-4,
    data_dir: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train an energy of noise-contrastive pairs for a model.

    Args:
        run: the model that is corrected.
        source: text that it was trained on, or more of its kind.

    Raises:
        ConfigError, DataError: the model masks nothing, or the text is too short.
    """
    where, note = choose_device(device)
    model = open_model(run, where)
    if model.config.kind != "radd":
        raise ConfigError("an energy corrects models of masks (kind 'radd').")
    text = read_set(source, reading, data_dir=data_dir)
    whole = tokens_of(text, "train", model.tokenizer, normalise=model.tokenizer.kind in ("char", "text8"))
    blocks_of(whole, model.length)
    if "valid" in text.splits:
        held = tokens_of(text, "valid", model.tokenizer)
    else:
        whole, held = divided(whole, 0.05)
    line = f"train an energy for {run} on {text.label}: {steps:,} steps of {batch} pairs"
    ready(Outlook((line, *([note] if note else [])), device=str(where)))
    _, stored = train_energy(
        blocks_of(whole, model.length),
        model,
        steps=steps,
        batch=batch,
        lr=lr,
        held=blocks_of(held, model.length) if held.count >= model.length else None,
        seed=seed,
        folder=folder,
        resume=resume,
        progress=progress,
    )
    seen = stored.training["energy"]["accuracy"]
    last = float(seen[-1][1])
    warnings = []
    if abs(last - 0.5) < 0.03:
        warnings.append(f"true and drawn texts are told apart in {last:.0%} of cases: nothing was learned.")
    if last > 0.97:
        warnings.append(f"true and drawn texts are told apart in {last:.0%} of cases: the predictor is poor.")
    return {
        "energy": str(folder),
        "model": run,
        "text": text.label,
        "steps": steps,
        "told_apart": [{"step": step, "accuracy": share} for step, share in seen],
        "warnings": warnings,
    }
