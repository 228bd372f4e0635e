"""Training: the baseline it must beat, resuming, saving, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError, ModelMismatch
from core.state import Seeds
from core.train import Batch
from domains.language.config import preset_for
from domains.language.networks import TextNet
from domains.language.radd import load_model, save_model
from domains.language.scoring import score_blocks
from domains.language.streams import Blocks
from domains.language.tokenizer import train_tokenizer
from domains.language.training import CausalLoss, Lowered, TextSamples, train, untrained

TOKENIZER = train_tokenizer("char", ["abcd"], ends=False)
TINY = {
    "net": {"width": 32},
    "length": 16,
    "batch": 16,
    "steps": 100,
    "ema": 0.9,
    "lr": 5e-3,
    "loss": "ao",
    "shifted": False,
}


def cycle(n: int = 400) -> np.ndarray:
    """Blocks of abcd over and over: one free choice per text, the phase."""
    phase = np.random.default_rng(0).integers(0, 4, n)[:, None]
    return ((np.arange(16) + phase) % 4).astype(np.int32).reshape(-1)


def blocks(ids: np.ndarray | None = None) -> Blocks:
    return Blocks(cycle() if ids is None else ids, 16, None, TOKENIZER.pad_id)


@pytest.mark.parametrize("kind", ["radd", "causal"])
def test_a_cycle_is_learned(kind: str) -> None:
    changes = {**TINY, "kind": kind, "net": {"width": 64}, "lr": 3e-3}
    model = train(blocks(), TOKENIZER, preset_for("nano", changes))
    found = score_blocks(model, torch.from_numpy(blocks().rows(range(8))), draws=8)
    # Entropy ln 4 = 1.39 nats per block of 16; an untrained model has 16 ln 4 = 22.
    assert float(found.nats.mean()) < 11
    assert float(found.nats.mean()) > 1.3


def test_a_resumed_run_has_the_bits_of_a_whole_one(tmp_path: Path) -> None:
    config = preset_for("nano", {**TINY, "steps": 8, "schedule": "constant"})
    whole = train(blocks(), TOKENIZER, config, folder=tmp_path / "whole", seed=4)
    half = preset_for("nano", {**TINY, "steps": 4, "schedule": "constant"})
    train(blocks(), TOKENIZER, half, folder=tmp_path / "run", seed=4)
    again = train(blocks(), TOKENIZER, config, folder=tmp_path / "run", seed=4, resume=True)
    for name, value in whole.checkpoint.weights.items():
        assert torch.equal(value, again.checkpoint.weights[name]), name
    with pytest.raises(ConfigError, match="had other settings: lr"):
        train(
            blocks(),
            TOKENIZER,
            config.model_copy(update={"lr": 0.5}),
            folder=tmp_path / "run",
            seed=4,
            resume=True,
        )


def test_a_saved_model_scores_the_same_and_refuses_another_tokenizer(tmp_path: Path) -> None:
    model = train(blocks(), TOKENIZER, preset_for("nano", {**TINY, "steps": 3}))
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    rows = torch.from_numpy(blocks().rows(range(3)))
    assert torch.equal(score_blocks(model, rows).nats, score_blocks(again, rows).nats)
    from domains.language import tokenizer_files

    tokenizer_files.save(train_tokenizer("char", ["wxyz"], ends=False), tmp_path)
    with pytest.raises(ModelMismatch, match="other tokens"):
        load_model(tmp_path)
    tokenizer_files.save(train_tokenizer("char", ["abcde"], ends=False), tmp_path)
    with pytest.raises(ModelMismatch, match="5 tokens, the model 4"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(tmp_path)


def test_the_masked_rows_alone_give_the_loss_of_the_full_head() -> None:
    denoiser = untrained(preset_for("nano", TINY), 4).double()
    torch.nn.init.normal_(denoiser.net.weight)
    x0 = torch.from_numpy(blocks().rows(range(16)))
    from core.train.token_loss import TokenLoss

    loss = TokenLoss()(denoiser, Batch(x0), Seeds(range(16)))

    def full(x, t, cond=None):  # type: ignore[no-untyped-def]
        from core.denoise import Posterior

        return Posterior(logits=denoiser.net(x))

    full.process = denoiser.process  # type: ignore[attr-defined]
    assert torch.allclose(loss, TokenLoss()(full, Batch(x0), Seeds(range(16))), atol=1e-6)  # type: ignore[arg-type]


def test_padding_after_the_end_is_taught_as_more_ends() -> None:
    tokenizer = train_tokenizer("char", ["ab"])
    ids = np.array([0, 1, 2, 1, 2], dtype=np.int32)
    from domains.language.streams import BlockSamples

    samples = TextSamples(BlockSamples(Blocks(ids, 4, 2, tokenizer.pad_id, "pad_after_eos")))
    rows = sorted(samples(range(2), 0).x0.tolist())
    assert rows == [[0, 1, 2, 2], [1, 2, 2, 2]]
    short = TextSamples(BlockSamples(Blocks(ids, 4, 2, tokenizer.pad_id, keep_rest=True)))
    state = short(range(2), 0).x0
    assert sorted(state["mask"].sum(1).tolist()) == [1, 4]


def test_bfloat16_inside_changes_the_loss_by_its_rounding_only() -> None:
    denoiser = untrained(preset_for("nano", {**TINY, "kind": "causal"}), 4)
    torch.nn.init.normal_(denoiser.net.weight, std=0.1)
    batch = Batch(torch.from_numpy(blocks().rows(range(4))))
    plain = CausalLoss()(denoiser, batch, Seeds(range(4)))
    lowered = Lowered(CausalLoss(), "cpu")(denoiser, batch, Seeds(range(4)))
    assert torch.allclose(plain, lowered, rtol=0.02)  # bfloat16 has 8 bits: 2^-8 per rounding, a few of them
    assert not torch.equal(plain, lowered)


def test_published_sizes_have_the_published_numbers_of_parameters() -> None:
    sizes = {"small": 162_265_682, "medium": 405_191_762}
    for preset, expected in sizes.items():
        with torch.device("meta"):
            net = TextNet(50257, **preset_for(preset).net.model_dump())
        count = sum(p.numel() for p in net.parameters())
        width = net.config["width"]
        # Here a row for padding more, and no output column (weights and bias) for the mask.
        assert count - width + width + 1 == expected


def test_settings_are_refused_before_any_step() -> None:
    with pytest.raises(ConfigError, match="blocks are of 16 tokens, the model of 64"):
        train(blocks(), TOKENIZER, preset_for("nano", {"steps": 1}))
    with pytest.raises(ConfigError, match="unknown preset"):
        preset_for("huge")
    with pytest.raises(ConfigError, match="loss 'rate'"):
        preset_for("nano", {"loss": "rate"})
    with pytest.raises(ConfigError, match="length beyond them"):
        preset_for("nano", {"block": 64})
    assert preset_for("nano", {"kind": "uniform"}).loss == "rate"
