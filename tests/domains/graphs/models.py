"""Untrained models of graphs: what holds for any weights is tested on them."""

from dataclasses import asdict
from functools import lru_cache

import torch

from core.process import to_record
from core.train.checkpoint import Checkpoint
from domains.graphs.config import GraphConfig, preset_for
from domains.graphs.data import KINDS, Kind
from domains.graphs.gdss import FORMAT, ROLE, GraphModel, Moments, model_of
from domains.graphs.training import denoiser_for

__all__ = ["model_for", "untrained"]

SMALL = {"width": 8, "attention": 8, "layers": 2, "hidden": 2, "final": 2, "depth": 1, "heads": 2}


def model_for(kind: Kind, config: GraphConfig, properties: dict[str, tuple[float, float]]) -> GraphModel:
    """An untrained model whose training graphs had N and N / 2 nodes."""
    moments = Moments((0.1,) * kind.features, (0.3,) * kind.features, 0.25, 0.4)
    denoiser = denoiser_for(kind, config, moments)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.mul_(0.5)
    sizes = [0] * (kind.max_nodes + 1)
    sizes[kind.max_nodes], sizes[(kind.max_nodes + 1) // 2] = 2, 1
    card = {
        "format": FORMAT,
        "kind": kind.to_dict(),
        "sizes": sizes,
        "moments": asdict(moments),
        "config": config.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "properties": properties,
    }
    return model_of(
        Checkpoint(
            weights=denoiser.net.state_dict(),
            process=to_record(denoiser.process),
            predicts="x0",
            data_std=denoiser.data_std,
            role=ROLE,
            net=denoiser.net.config,
            training={"graphs": card},
        )
    )


@lru_cache
def untrained(preset: str, kind: str | None = None) -> GraphModel:
    """A small untrained model with the process and the sampler of a preset."""
    return model_for(KINDS[kind or preset], preset_for(preset, SMALL), {})
