"""The recogniser's parts, each against an answer that is known without it."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError, DataError
from core.train.checkpoint import Checkpoint
from core.train.samples import Batch
from domains.music.frames import RATE
from domains.music.mel import BANDS, STEP, at_rate, blurred, filters, log_mel
from domains.music.recogniser import (
    LABELS,
    Recogniser,
    RecogniserConfig,
    collapse,
    edit_distance,
    greedy,
    label_of,
    labels_of,
    load_recogniser,
    per,
    save_recogniser,
)
from domains.music.recogniser_training import (
    Augment,
    PhoneLoss,
    RecogniserTraining,
    Recording,
    augmented,
    frame_labels,
    train_recogniser,
)


def test_the_triangles_are_those_of_torchaudio() -> None:
    functional = pytest.importorskip(
        "torchaudio.functional", reason="'torchaudio' is not installed (extra 'music')"
    )
    theirs = functional.melscale_fbanks(513, 30.0, 10_000.0, BANDS, RATE, norm=None, mel_scale="htk")
    assert torch.allclose(filters(), theirs.T, atol=1e-4)


def test_a_full_scale_sine_has_the_power_of_its_band() -> None:
    f0_hz = 40 * RATE / 1024  # on a bin
    wave = torch.sin(2 * math.pi * f0_hz * torch.arange(RATE) / RATE)
    mel = log_mel(wave)
    assert mel.shape == (BANDS, 1 + RATE // STEP)
    # The Hann window spreads a sine over three bins with magnitudes 1/2, 1, 1/2.
    weights = filters()[:, 39:42]
    power = weights @ torch.tensor([0.25, 1.0, 0.25])
    assert torch.allclose(mel[:, 20].exp(), power + 1e-5, atol=2e-3)


def test_a_wave_too_short_for_a_window_is_refused() -> None:
    with pytest.raises(DataError, match="more than 512 samples"):
        log_mel(torch.zeros(100))


def test_resampling_keeps_a_tone_and_mixes_channels() -> None:
    pytest.importorskip("torchaudio", reason="'torchaudio' is not installed (extra 'music')")
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(44100) / 44100)
    got = at_rate(torch.stack([wave, wave]), 44100)
    want = torch.sin(2 * math.pi * 1000 * torch.arange(RATE) / RATE)
    assert (got - want)[500:-500].abs().max() < 2e-2


def test_a_blur_of_weight_zero_changes_nothing_and_any_blur_keeps_a_constant() -> None:
    mel = torch.randn(BANDS, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(blurred(mel, torch.tensor([0.0, 1.0, 0.0])), mel)
    flat = torch.full((BANDS, 9), 2.0)
    assert torch.allclose(blurred(flat, torch.tensor([0.25, 0.5, 0.25])), flat)


def _recursive(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    @cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


def test_edit_distance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (tuple(rng.integers(0, 3, rng.integers(0, 8)).tolist()) for _ in range(2))
        assert edit_distance(a, b) == _recursive(a, b)


def test_an_empty_answer_misses_every_phone() -> None:
    assert per([1, 2, 3, 4], []) == 1.0
    assert per([1, 2, 3, 4], [1, 3, 4]) == 0.25
    with pytest.raises(ConfigError, match="reference"):
        per([], [1])


def test_greedy_decoding_merges_repeats_unless_silence_parts_them() -> None:
    frames = torch.tensor([0, 3, 3, 0, 3, 5, 5, 0])
    assert greedy(torch.nn.functional.one_hot(frames, 6).float()) == [3, 3, 5]


@pytest.mark.parametrize(
    ("ipa", "label"),
    [
        ("iː", "i"),
        ("ˈoʊ", "oʊ"),
        ("oː", "ɔ"),
        ("ɑːɹ", "ɑ"),
        ("əl", "ə"),
        ("tʃ", "tʃ"),
        ("t͡ʃ", "tʃ"),
        ("ɾ", "d"),
    ],
)
def test_neighbours_share_a_label(ipa: str, label: str) -> None:
    assert collapse(ipa) == label
    assert LABELS[label_of(ipa) or 0] == label


def test_a_phone_without_a_neighbour_is_passed_over() -> None:
    assert label_of("ǃ") is None
    assert labels_of(["s", "ǃ", "iː"]) == [LABELS.index("s"), LABELS.index("i")]


def test_frames_carry_the_phone_that_sounds_at_their_middle() -> None:
    step = STEP / RATE
    phones = [
        (0.0, 2.5 * step, 7),
        (2.5 * step, 4 * step, 7),
        (4.2 * step, 4.8 * step, 9),
        (6 * step, 99.0, 2),
    ]
    labels, present = frame_labels(phones, 0.0, 8)
    assert labels.tolist() == [7, 7, 7, 7, 0, 0, 2, 2]
    # The third phone lies between two frames and owns none; the two equal ones count as two.
    assert present == [7, 7, 2]
    shifted, _ = frame_labels(phones, 3 * step, 3)
    assert shifted.tolist() == [7, 0, 0]


def test_augmentation_of_strength_zero_changes_nothing() -> None:
    mel = torch.randn(BANDS, 20, generator=torch.Generator().manual_seed(0))
    off = Augment(tilt=0, shift=0, blur=0, rough=0, holes=0)
    assert torch.allclose(augmented(mel, off, torch.Generator().manual_seed(1)), mel, atol=1e-6)


def test_level_and_equaliser_leave_what_is_heard() -> None:
    gen = torch.Generator().manual_seed(0)
    model = Recogniser(RecogniserConfig(16, (1, 2))).eval()
    mel = torch.randn(1, BANDS, 40, generator=gen)
    moved = mel + torch.randn(1, BANDS, 1, generator=gen)
    assert torch.allclose(model(mel), model(moved), atol=1e-5)


def test_the_loss_of_a_certain_and_right_answer_is_zero() -> None:
    labels = torch.tensor([[0, 4, 4, 0, 7, 7]])
    logits = 100.0 * torch.nn.functional.one_hot(labels, len(LABELS)).float()
    cond = {"labels": labels, "phones": torch.tensor([[4, 7, 0]]), "count": torch.tensor([2])}
    right = PhoneLoss(0.3)(lambda _: logits, Batch(torch.zeros(1), cond), None)
    assert right.item() == pytest.approx(0.0, abs=1e-4)
    wrong = {**cond, "phones": torch.tensor([[7, 4, 0]])}
    assert PhoneLoss(0.3)(lambda _: logits, Batch(torch.zeros(1), wrong), None).item() > 1


def test_consonants_count_three_times_in_the_mean_over_frames() -> None:
    p, i = LABELS.index("p"), LABELS.index("i")
    logits = torch.randn(1, 4, len(LABELS), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, p, i, i]])
    each = -torch.log_softmax(logits, -1)[0].gather(1, labels.T)[:, 0]
    cond = {"labels": labels, "phones": torch.tensor([[p, i]]), "count": torch.tensor([2])}
    loss = PhoneLoss(0.0)(lambda _: logits, Batch(torch.zeros(1), cond), None)
    assert loss.item() == pytest.approx(float((each[0] + 3 * each[1] + each[2] + each[3]) / 6), rel=1e-5)


def test_ctc_adds_up_every_alignment() -> None:
    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, len(LABELS), generator=gen)
    probs = torch.softmax(logits, -1)[0]
    # Three frames that read "4": every pattern of 4 and blank in one run.
    runs = [(4, 0, 0), (0, 4, 0), (0, 0, 4), (4, 4, 0), (0, 4, 4), (4, 4, 4)]
    total = sum(math.prod(float(probs[t, label]) for t, label in enumerate(run)) for run in runs)
    labels = torch.zeros(1, 3, dtype=torch.int64)
    cond = {"labels": labels, "phones": torch.tensor([[4]]), "count": torch.tensor([1])}
    both = PhoneLoss(1.0)(lambda _: logits, Batch(torch.zeros(1), cond), None)
    frames = PhoneLoss(0.0)(lambda _: logits, Batch(torch.zeros(1), cond), None)
    assert (both - frames).item() == pytest.approx(-math.log(total), rel=1e-4)


def toy_songs(count: int = 2) -> list[Recording]:
    """Songs of three "phones" that are tones of their own."""
    gen = torch.Generator().manual_seed(3)
    songs = []
    for number in range(count):
        phones, pieces = [], []
        for i in range(16):
            label = int(torch.randint(1, 4, (1,), generator=gen))
            f0_hz = (300.0, 900.0, 2700.0)[label - 1]
            pieces.append(torch.sin(2 * math.pi * f0_hz * torch.arange(RATE // 4) / RATE))
            phones.append((i / 4, (i + 1) / 4, label))
        voice = (8000 * torch.cat(pieces)).to(torch.int16)
        tags = {
            "instrument": "piano",
            "mode": "major",
            "tempo": "slow",
            "voice": ("female", "male")[number % 2],
        }
        songs.append(Recording(voice, torch.zeros_like(voice), tuple(phones), tags))
    return songs


def test_a_small_network_learns_tones_and_survives_a_file(tmp_path) -> None:
    songs = toy_songs()
    settings = RecogniserTraining(steps=20, batch=4, lr=1e-2, frames=48, ema=0.8)
    model, checkpoint = train_recogniser(songs, settings, net=RecogniserConfig(24, (1, 2)))
    song = songs[0]
    reference = [song.phones[0][2]]
    reference += [b[2] for a, b in zip(song.phones, song.phones[1:], strict=False) if a[2] != b[2]]
    heard = model.hear(song.voice.float() / 32767, RATE).phones()
    assert per(reference, heard) < 0.2
    path = tmp_path / "model.safetensors"
    save_recogniser(path, model, checkpoint)
    again = load_recogniser(path).hear(song.voice.float() / 32767, RATE)
    assert again.phones() == heard
    assert again.frame_s == pytest.approx(512 / 22050)


def test_a_recogniser_of_other_phones_is_refused(tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.safetensors"
    save_recogniser(path, Recogniser(RecogniserConfig(8, (1,))), Checkpoint({}, {}, "x0", 1.0))
    monkeypatch.setattr("domains.music.recogniser.LABELS", LABELS[:-1])
    with pytest.raises(CheckpointError, match="other phones"):
        load_recogniser(path)
