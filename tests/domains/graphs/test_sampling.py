"""Plans over nodes and edges: exact on a coupled Gaussian, inside their spaces, the same in any chunk."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import JointRow, Plan
from core.process import Product
from core.run import sample
from domains.graphs.config import GraphSampling, Noising, preset_for
from domains.graphs.data import KINDS, Graphs
from domains.graphs.gdss import GraphModel, process_of
from domains.graphs.sampling import draw_sizes, plan_of, sample_graphs
from tests.domains.graphs.models import untrained

F64 = torch.float64
SOLVERS: dict[str, GraphSampling] = {
    "s4": GraphSampling(solver="s4", corrector=False),
    "s4+langevin": GraphSampling(solver="s4", snr=0.05, scale_eps=1.0, pooled=True),
    "em": GraphSampling(solver="em", corrector=False),
    "em+langevin": GraphSampling(solver="em", snr=0.05, scale_eps=1.0, pooled=True),
    "reverse": GraphSampling(solver="reverse", corrector=False),
    "reverse+langevin": GraphSampling(solver="reverse", snr=0.05, scale_eps=1.0, pooled=True),
    "ode": GraphSampling(solver="ode"),
    "default": GraphSampling(solver="default"),
    "ancestral": GraphSampling(solver="ancestral"),
}
STEPS = {"ode": 60, "default": 60}


@dataclass(frozen=True)
class Coupled:
    """Three nodes of one feature and their three pairs, jointly normal: the exact, linear denoiser."""

    cov: Tensor
    process: Product

    def level(self, t: float) -> tuple[Tensor, Tensor]:
        nodes, edges = self.process.parts["nodes"], self.process.parts["edges"]
        alpha = torch.tensor([nodes.alpha(t)] * 3 + [edges.alpha(t)] * 3, dtype=F64)
        sigma = torch.tensor([nodes.sigma(t)] * 3 + [edges.sigma(t)] * 3, dtype=F64)
        return alpha, sigma

    def noisy(self, t: float) -> Tensor:
        alpha, sigma = self.level(t)
        return alpha[:, None] * self.cov * alpha + torch.diag(sigma**2)

    def __call__(self, x: Any, t: float, cond: Any = None) -> Posterior:
        alpha, _ = self.level(t)
        gain = self.cov * alpha @ torch.linalg.inv(self.noisy(t))
        return Posterior(mean=packed(flat(x) @ gain.T))


def flat(x: Any) -> Tensor:
    u, v = torch.triu_indices(3, 3, 1)
    return torch.cat([x["nodes"][..., 0], x["edges"][:, u, v]], 1)


def packed(z: Tensor) -> dict[str, Tensor]:
    u, v = torch.triu_indices(3, 3, 1)
    edges = z.new_zeros(len(z), 3, 3)
    edges[:, u, v] = z[:, 3:]
    return {
        "nodes": z[:, :3, None],
        "edges": edges + edges.mT,
        "mask": torch.ones(len(z), 3, dtype=torch.bool),
    }


def coupled() -> Coupled:
    gen = torch.Generator().manual_seed(3)
    mix = torch.randn(6, 6, generator=gen, dtype=F64) / 3
    cov = mix @ mix.T + 0.1 * torch.eye(6, dtype=F64)
    assert float(cov[:3, 3:].abs().max()) > 0.1  # nodes and edges do not go alone
    process = process_of(Noising(kind="vp", low=0.1, high=8.0), Noising(kind="ve", low=0.02, high=2.0))
    return Coupled(cov, process)


LANGEVIN = [name for name in SOLVERS if name.endswith("langevin")]
LINEAR = [name for name in SOLVERS if name not in LANGEVIN]


def plan_for(name: str, model: Coupled) -> Plan:
    return plan_of(
        model.process, SOLVERS[name].model_copy(update={"steps": STEPS.get(name, 250)}), data_std=0.5
    )


def off(found: Tensor, truth: Tensor) -> float:
    """Largest error of an entry, in units of the standard deviations it joins."""
    scale = torch.diagonal(truth).sqrt()
    return float(((found - truth).abs() / (scale[:, None] * scale)).max())


def exact_cov(plan: Plan, model: Coupled) -> Tensor:
    """The covariance that a plan of linear rows reaches from the exact law at its start, without draws."""
    cov, units = model.noisy(plan.start), packed(torch.eye(6, dtype=F64))
    if not plan.stochastic:
        image = flat(sample(plan, model, units)).T
        return image @ cov @ image.T
    for row in plan.rows:
        assert isinstance(row, JointRow)
        silent = row._replace(parts={k: part._replace(fresh=0.0) for k, part in row.parts.items()})
        image = flat(sample(Plan("row", (silent,)), model, units)).T
        fresh = [row.parts["nodes"].fresh ** 2] * 3 + [row.parts["edges"].fresh ** 2] * 3
        cov = image @ cov @ image.T + torch.diag(torch.tensor(fresh, dtype=F64))
    return cov


@pytest.mark.parametrize("name", LINEAR)
def test_covariances_of_a_coupled_gaussian_are_reached_within_six_percent(name: str) -> None:
    model = coupled()
    plan = plan_for(name, model)
    assert off(exact_cov(plan, model), model.cov) < 0.06
    alone = model.cov.clone()
    alone[:3, 3:] = alone[3:, :3] = 0
    assert off(exact_cov(plan, replace(model, cov=alone)), model.cov) > 0.06  # each part denoised by itself


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGEVIN)
def test_corrected_plans_reach_the_covariances_too(name: str) -> None:
    model = coupled()
    plan = plan_for(name, model)
    gen = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(model.noisy(plan.start))
    start = packed(torch.randn(12_000, 6, generator=gen, dtype=F64) @ root.T)
    found = torch.cov(flat(sample(plan, model, start, gen)).T)
    # 12 000 draws: a standard error of 0.9 % of a covariance and 1.3 % of a variance.
    assert off(found, model.cov) < 0.06


@pytest.mark.parametrize("name", SOLVERS)
def test_every_plan_stays_in_its_spaces(name: str) -> None:
    model = untrained("community_small")
    drawn = sample_graphs(
        model, 4, sampling=SOLVERS[name].model_copy(update={"steps": 4, "chunk": 4}), sizes=[12, 5, 1, 20]
    )
    raw = drawn.raw
    assert raw.sizes.tolist() == [12, 5, 1, 20]
    assert torch.equal(raw.edges, raw.edges.mT)
    assert float(torch.diagonal(raw.edges, dim1=1, dim2=2).abs().max()) == 0
    assert float((raw.nodes * ~raw.mask[..., None]).abs().max()) == 0
    assert float((raw.edges * ~raw.mask[:, :, None]).abs().max()) == 0
    assert raw.checked() is raw


@pytest.mark.parametrize("name", ["s4+langevin", "ancestral"])
def test_a_seed_gives_the_same_graphs_in_any_chunk(name: str) -> None:
    model = untrained("community_small")
    settings = SOLVERS[name].model_copy(update={"steps": 5, "pooled": False})
    whole = sample_graphs(model, 7, sampling=settings, seed=3)
    pieces = sample_graphs(model, 7, sampling=settings.model_copy(update={"chunk": 2}), seed=3)
    last = sample_graphs(model, 2, sampling=settings, seed=3, first=5)
    assert torch.allclose(whole.raw.nodes, pieces.raw.nodes, atol=1e-4)
    assert torch.allclose(whole.raw.edges, pieces.raw.edges, atol=1e-4)
    assert torch.allclose(whole.raw.edges[5:], last.raw.edges, atol=1e-4)
    assert whole.raw.sizes.tolist() == pieces.raw.sizes.tolist()
    other = sample_graphs(model, 7, sampling=settings, seed=4)
    assert not torch.allclose(whole.raw.nodes, other.raw.nodes, atol=1e-2)


def test_pooled_norms_depend_on_the_chunk() -> None:
    model = untrained("community_small")
    settings = SOLVERS["s4+langevin"].model_copy(update={"steps": 5})
    whole = sample_graphs(model, 4, sampling=settings)
    alone = sample_graphs(model, 1, sampling=settings)
    assert not torch.allclose(whole.raw.nodes[:1], alone.raw.nodes, atol=1e-4)


def test_sizes_follow_the_training_graphs() -> None:
    model = replace(untrained("community_small"), sizes=(0,) * 12 + (3, 0, 1) + (0,) * 6)
    sizes = draw_sizes(model, range(4000), 0)
    share = float((sizes == 12).double().mean())
    assert set(sizes.tolist()) == {12, 14}
    assert share == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 4000) ** 0.5)
    assert draw_sizes(model, [17], 0).tolist() == sizes[17:18].tolist()
    with pytest.raises(ConfigError, match=r"sizes must lie in \[1, 20\]"):
        draw_sizes(model, [0], 0, 21)
    with pytest.raises(ConfigError, match="got 1 sizes for 2 graphs"):
        draw_sizes(model, [0, 1], 0, [4])


def test_a_matched_start_has_the_moments_of_noised_data() -> None:
    from domains.graphs.sampling import empty_state, start_of

    model = untrained("community_small")
    like = empty_state(model, torch.full((4000,), 20))
    x = start_of(model, like, torch.Generator().manual_seed(0), GraphSampling(prior="matched"))
    part, m = model.process.parts["edges"], model.moments
    pairs = x["edges"][:, *torch.triu_indices(20, 20, 1)]
    spread = ((part.alpha(1.0) * m.edge_std) ** 2 + part.sigma(1.0) ** 2) ** 0.5
    # 760 000 entries: standard errors of 0.1 %.
    assert float(pairs.mean()) == pytest.approx(part.alpha(1.0) * m.edge_mean, abs=5e-3)
    assert float(pairs.std()) == pytest.approx(spread, rel=5e-3)
    plain = start_of(model, like, torch.Generator().manual_seed(0), GraphSampling())
    assert float(plain["edges"][:, *torch.triu_indices(20, 20, 1)].std()) == pytest.approx(1, rel=5e-3)


def test_frames_are_kept_for_animation() -> None:
    model = untrained("community_small")
    drawn = sample_graphs(
        model,
        5,
        sampling=SOLVERS["ancestral"].model_copy(update={"steps": 8, "chunk": 2}),
        frames=3,
        framed=2,
    )
    assert (len(drawn.frames), drawn.times[0] > drawn.times[-1]) == (3, True)
    assert all(isinstance(frame, Graphs) and len(frame) == 2 for frame in drawn.frames)
    assert torch.allclose(drawn.frames[-1].edges, drawn.raw.edges[:2])


def test_published_presets_name_their_predictors_and_correctors() -> None:
    table = {name: preset_for(name).sampling for name in KINDS if name != "comm20"}
    assert {n: (s.solver, s.corrector) for n, s in table.items()} == {
        "ego_small": ("em", False),
        "community_small": ("em", True),
        "enzymes": ("s4", True),
        "grid": ("reverse", True),
        "qm9": ("reverse", True),
        "zinc250k": ("reverse", True),
    }
    assert [table[n].snr for n in ("community_small", "enzymes", "grid", "qm9")] == [0.05, 0.15, 0.1, 0.2]
    plan = plan_of(process_of(Noising(), Noising()), table["community_small"])
    assert plan.evaluations == 2000
    s4 = plan_of(process_of(Noising(), Noising()), table["enzymes"])
    assert s4.evaluations == 1000  # one call a step


def test_a_model_without_properties_refuses_targets() -> None:
    model: GraphModel = untrained("community_small")
    with pytest.raises(ConfigError, match="is not told qed"):
        sample_graphs(model, 1, targets={"qed": 0.9})
