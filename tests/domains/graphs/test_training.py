"""Training: bit-exact resuming, a loss that falls on a set drawn here, refusals in the first second."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError
from domains.graphs.config import preset_for
from domains.graphs.data import GraphSet, Kind, Ragged
from domains.graphs.training import GraphSamples, fit_config, moments_of, train
from tests.domains.graphs.models import SMALL

KIND = Kind("rings", (), 6, 4)


def rings() -> GraphSet:
    """Rings of 3 to 6 nodes."""
    graphs = [([0] * n, [(i, (i + 1) % n) for i in range(n)], None) for n in (3, 4, 5, 6) for _ in range(3)]
    return GraphSet(KIND, Ragged.build(graphs), {"train": np.arange(12), "test": np.arange(4)})


def config(preset: str = "community_small", **changes: object):  # type: ignore[no-untyped-def]
    base = {"width": 8, "attention": 4, "depth": 1, "heads": 2} if preset == "tiny" else SMALL
    return preset_for(preset, {**base, "steps": 6, "batch": 4, "ema": 0.9, "warmup": 2, **changes})


@pytest.mark.parametrize("preset", ["community_small", "tiny"])
def test_a_resumed_run_ends_with_the_same_bits(preset: str, tmp_path: Path) -> None:
    whole = train(rings(), config(preset), seed=3, folder=tmp_path / "a")
    train(rings(), config(preset, steps=3), seed=3, folder=tmp_path / "b")
    parts = train(rings(), config(preset), seed=3, folder=tmp_path / "b", resume=True)
    for name, value in whole.checkpoint.weights.items():
        assert torch.equal(value, parts.checkpoint.weights[name]), name


def test_the_loss_falls_below_that_of_silence() -> None:
    model = train(rings(), config("wide", steps=60, batch=12, lr=0.02), seed=0)
    # A silent network pays (n F + n (n - 1)) / 2 = 19 on average over the sizes 3 to 6.
    assert model.checkpoint.training["loss"] < 0.9 * 19
    assert model.sizes == (0, 0, 0, 3, 3, 3, 3)
    assert model.moments.edge_mean == pytest.approx(2 * 54 / (3 * (6 + 12 + 20 + 30)))


def test_every_graph_comes_once_an_epoch() -> None:
    samples = GraphSamples(rings(), np.arange(12))
    sizes = samples(range(12, 24), 5).x0["mask"].sum(1)
    assert sorted(sizes.tolist()) == [3] * 3 + [4] * 3 + [5] * 3 + [6] * 3
    again = samples(range(18, 24), 5).x0["mask"].sum(1)
    assert again.tolist() == sizes[6:].tolist()


def test_the_rate_falls_by_the_published_factor_each_epoch() -> None:
    settings = fit_config(preset_for("qm9"), 120_803)
    assert settings.decay ** (120_803 / 1024) == pytest.approx(0.999)
    assert fit_config(preset_for("community_small"), 80).batch == 80


def test_properties_are_standardised_and_checked() -> None:
    told = config("tiny", properties=("size",))
    sizes = [float(n) for n in (3, 4, 5, 6) for _ in range(3)]
    model = train(rings(), told, properties={"size": sizes})
    assert model.properties["size"] == pytest.approx((4.5, np.std(sizes, ddof=1)))
    with pytest.raises(DataError, match="property 'size' is missing"):
        train(rings(), told)
    with pytest.raises(DataError, match="not finite at graph 2"):
        train(rings(), told, properties={"size": [1.0, 2.0, float("nan"), *sizes[3:]]})
    with pytest.raises(DataError, match="3 values for 12"):
        train(rings(), told, properties={"size": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match="one value throughout"):
        train(rings(), told, properties={"size": [1.0] * 12})


def test_architectures_and_targets_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="predict scores"):
        train(rings(), config(target="clean"))
    with pytest.raises(ConfigError, match="predicts clean graphs"):
        train(rings(), config("tiny", target="score"))


def test_moments_count_existing_pairs_only() -> None:
    moments = moments_of(rings().graphs("test"))
    assert sum(moments.node_mean) == pytest.approx(1)
    # Three triangles and a ring of four: 18 of 18 and 8 of 12 ordered pairs.
    assert moments.edge_mean == pytest.approx(26 / 30)
