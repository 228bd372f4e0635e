"""A codec trained from a corpus: its second stage moves the decoder alone, and both keep what they had."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from core.train import load
from domains.music.codec import SpecVAE, load_codec
from domains.music.codec.adversarial import Adversarial, Critic, Duel
from domains.music.codec.losses import MultiSTFT, SpectralLoss
from domains.music.codec.specvae import SpecVAEConfig
from domains.music.codec.training import Trainee
from domains.music.frames import RATE
from domains.music.workflows import train_codec_file
from domains.music.workflows.training_codec import Judged

SMALL = SpecVAEConfig(channels=4, fast=12, slow=16, encoder=(1, 1), decoder=(1, 1))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    import soundfile

    for number, split in enumerate(("train", "validation")):
        folder = tmp_path / "corpus" / f"song-{number}"
        folder.mkdir(parents=True)
        wave = 0.2 * torch.randn(round(1.1 * RATE), generator=torch.Generator().manual_seed(number))
        soundfile.write(folder / "mix.flac", wave.numpy(), RATE)
        (folder / "song.json").write_text(json.dumps({"split": split}), "utf-8")
    return tmp_path / "corpus"


@pytest.mark.slow
def test_the_second_stage_moves_the_decoder_and_holds_the_encoder(corpus: Path, tmp_path: Path) -> None:
    report = train_codec_file(corpus, tmp_path / "run", preset="tiny", steps=1, batch=1, adversarial_steps=1)
    assert report["adversarial_steps"] == 1
    first = load(tmp_path / "run" / "model.safetensors", role="codec").weights
    last = load_codec(tmp_path / "run" / "codec.safetensors").state_dict()

    def moved(part: str) -> float:
        names = [name for name in first if name.startswith(part)]
        return max(float((first[name] - last[name].float()).abs().max()) for name in names)

    assert moved("encoder") < 2e-3  # the file holds half precision
    assert not torch.equal(
        first["decoder.straight.bias"].half().float(), last["decoder.straight.bias"].float()
    )
    record = load(tmp_path / "run" / "codec.safetensors", role="codec").training
    assert record["adversarial"]["recipe"]["lr"] == pytest.approx(1.5e-4)
    assert report["log_spectral_distance_before_critic_db"] > 0


def test_the_loss_of_a_duel_keeps_the_slopes_that_no_wave_teaches() -> None:
    from core.train.samples import Batch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        duel = Duel(SpecVAE(SMALL), Critic(width=2, windows=(128,)))
    wave = 0.1 * torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(1))
    batch = Batch(wave, None)
    critic = Adversarial(MultiSTFT((128,)), kl_weight=0.0)
    spectral = SpectralLoss()

    def slope_gradient(loss: object) -> float:
        duel.zero_grad()
        outlines: list[torch.Tensor] = []
        inner = duel.codec.outline

        def kept(latent: torch.Tensor) -> torch.Tensor:
            found = inner(latent)
            found.retain_grad()
            outlines.append(found)
            return found

        duel.codec.outline = kept
        loss(Trainee(duel), batch, torch.Generator().manual_seed(2)).sum().backward()  # type: ignore[operator]
        duel.codec.outline = inner
        grads = [one.grad.unflatten(1, (3, -1))[:, 1:] for one in outlines if one.grad is not None]
        return max(float(grad.abs().max()) for grad in grads)

    assert slope_gradient(critic) == 0
    assert slope_gradient(Judged(spectral, critic)) > 0
