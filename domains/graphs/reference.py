"""Checkpoints of the published GDSS code as models of this package.

    model = read_reference(path, read_set("qm9"))

The file is read with `weights_only=True`; the one class of its own that it names, a dictionary with
attributes, is read as an ordered dictionary, and nothing else is unpickled. It holds both networks, their
settings, and averaged weights, but not the training graphs, from which node counts are drawn: they come from
the set that is given.

    published name                           here
    x: layers.i.{weight, bias}               nodes.weights.i, nodes.biases.i
    layers.i.attn.c.gnn_{q, k, v}            blocks.i.{asks, says} and their biases, one slice per channel c
    layers.i.multi_channel.linears.j         blocks.i.values.2j
    layers.i.mlp.linears.j                   blocks.i.maps.2j
    final.linears.j                          head.mlp.2j

Source: the code of Jo, Lee & Hwang 2022, arXiv:2202.02514, at github.com/harryjo97/GDSS.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import CheckpointError
from core.process import to_record
from core.train.checkpoint import Checkpoint
from domains.graphs.config import GraphConfig, GraphSampling, Noising, checked
from domains.graphs.data import GraphSet
from domains.graphs.gdss import FORMAT, ROLE, GraphModel, model_of
from domains.graphs.training import MEASURED, denoiser_for, moments_of

__all__ = ["convert_reference", "read_reference"]

WANTED = ("model_config", "params_x", "x_state_dict", "params_adj", "adj_state_dict")
Weights = dict[str, Tensor]


def read_reference(path: Path, graphs: GraphSet, *, ema: bool | None = None) -> GraphModel:
    """Read a `.pth` of the published code.

    Args:
        graphs: the set that it was trained on, for sizes and moments.
        ema: take averaged weights; None as the file's settings say.

    Raises:
        CheckpointError: it is missing, no such file, holds other objects than weights and settings, or was
            trained on another kind of graphs.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}.")
    try:
        with torch.serialization.safe_globals([(OrderedDict, "easydict.EasyDict")]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read: {first}", hint="Give a .pth file of the published GDSS code."
        ) from error
    return convert_reference(found, graphs, ema=ema)


def convert_reference(found: Any, graphs: GraphSet, *, ema: bool | None = None) -> GraphModel:
    """The model that the content of a published checkpoint describes; arguments as for `read_reference`."""
    if not isinstance(found, Mapping) or (missing := [key for key in WANTED if key not in found]):
        what = "no dictionary" if not isinstance(found, Mapping) else f"no '{missing[0]}'"
        raise CheckpointError(f"the checkpoint holds {what}.", hint="Give a .pth file of the GDSS code.")
    settings, x, adj = found["model_config"], found["params_x"], found["params_adj"]
    kind = graphs.kind
    own = (adj["max_node_num"], adj["max_feat_num"])
    if own != (kind.max_nodes, kind.features):
        raise CheckpointError(
            f"the checkpoint is of N={own[0]}, F={own[1]}; '{kind.name}' has N={kind.max_nodes}, "
            f"F={kind.features}.",
            hint="Give the set that it was trained on.",
        )
    attention = x["model_type"] == "ScoreNetworkX_GMH"
    config = checked(
        GraphConfig,
        {
            "nodes": _noising(settings["sde"]["x"]),
            "edges": _noising(settings["sde"]["adj"]),
            "ve_scale": "none",
            "node_layers": "attention" if attention else "gcn",
            "depth": x["depth"],
            "width": adj["nhid"],
            "attention": adj["adim"],
            "layers": adj["num_layers"],
            "powers": adj["c_init"],
            "hidden": adj["c_hid"],
            "final": adj["c_final"],
            "heads": adj["num_heads"],
            "linears": adj["num_linears"],
            "steps": 1,
            "sampling": _sampling(settings.get("sampler"), settings.get("sample"), kind.molecular),
        },
    )
    rows = graphs.at("train")
    moments = moments_of(graphs.batch(rows[:MEASURED]))
    denoiser = denoiser_for(kind, config, moments)
    averaged = bool(settings.get("sample", {}).get("use_ema", False)) if ema is None else ema
    parts = {"nodes": _state(found, "x", averaged), "edges": _state(found, "adj", averaged)}
    weights: Weights = {}
    for part, published in parts.items():
        convert = _attention if part == "edges" or attention else _gcn
        weights |= {f"{part}.{name}": value for name, value in convert(published).items()}
    card = {
        "format": FORMAT,
        "kind": kind.to_dict(),
        "sizes": torch.bincount(
            torch.as_tensor(graphs.ragged.sizes[rows]), minlength=kind.max_nodes + 1
        ).tolist(),
        "moments": asdict(moments),
        "config": config.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "properties": {},
        "graphs": len(rows),
    }
    return model_of(
        Checkpoint(
            weights=weights,
            process=to_record(denoiser.process),
            predicts="x0",
            data_std=denoiser.data_std,
            role=ROLE,
            net=_settings(denoiser.net),
            training={"graphs": card, "source": "github.com/harryjo97/GDSS"},
        )
    )


def _settings(net: Any) -> dict[str, Any]:
    """What `network_of` builds a network from."""
    return dict(net.config)


def _noising(sde: Mapping[str, Any]) -> Noising:
    kinds = {"VP": "vp", "VE": "ve"}
    if sde["type"] not in kinds:
        raise CheckpointError(f"the checkpoint has an SDE of type '{sde['type']}' (known: VP, VE).")
    return checked(Noising, {"kind": kinds[sde["type"]], "low": sde["beta_min"], "high": sde["beta_max"]})


def _sampling(sampler: Mapping[str, Any] | None, sample: Mapping[str, Any] | None, molecular: bool) -> Any:
    """The settings of the file where it has them; files of molecules have none."""
    if sampler is None:
        return GraphSampling(solver="reverse" if molecular else "s4", snr=0.2)
    solvers = {"Euler": "em", "Reverse": "reverse", "S4": "s4"}
    return checked(
        GraphSampling,
        {
            "solver": solvers[sampler["predictor"]],
            # S4 has its corrector built in, whatever the file says.
            "corrector": sampler["predictor"] == "S4" or sampler["corrector"] != "None",
            "snr": sampler["snr"] or 0.2,
            "scale_eps": sampler["scale_eps"],
        },
    )


def _state(found: Mapping[str, Any], name: str, averaged: bool) -> Weights:
    """Weights by published name, without the prefix that several devices leave."""
    weights = {key.removeprefix("module."): value for key, value in found[f"{name}_state_dict"].items()}
    if averaged:
        shadow = found[f"ema_{name}"]["shadow_params"]
        weights = dict(zip(weights, shadow, strict=True))
    return weights


def _gcn(found: Weights) -> Weights:
    out = {}
    for name, value in found.items():
        first, i, last = name.split(".", 2)
        if first == "layers":
            out[f"{'weights' if last == 'weight' else 'biases'}.{i}"] = value
    return out | _mlp(found, "final", "head.mlp")


def _attention(found: Weights) -> Weights:
    out = {}
    depth = 1 + max(int(name.split(".")[1]) for name in found if name.startswith("layers."))
    for i in range(depth):
        own = f"layers.{i}.attn."
        channels = 1 + max(int(name.split(".")[3]) for name in found if name.startswith(own))

        def stacked(part: str, kind: str, dim: int, own: str = own, channels: int = channels) -> Tensor:
            return torch.stack([found[f"{own}{c}.gnn_{part}.{kind}"] for c in range(channels)], dim)

        block = f"blocks.{i}"
        out[f"{block}.asks"] = torch.stack([stacked(part, "weight", 1) for part in "qk"], 2)
        out[f"{block}.asks_bias"] = torch.stack([stacked(part, "bias", 0) for part in "qk"], 1)
        out[f"{block}.says"] = stacked("v", "weight", 1)
        out[f"{block}.says_bias"] = stacked("v", "bias", 0)
        out |= _mlp(found, f"layers.{i}.multi_channel", f"{block}.values")
        out |= _mlp(found, f"layers.{i}.mlp", f"{block}.maps")
    return out | _mlp(found, "final", "head.mlp")


def _mlp(found: Weights, published: str, here: str) -> Weights:
    """The linear maps of an MLP; between ours stand the ELUs."""
    out = {}
    for name, value in found.items():
        if name.startswith(f"{published}.linears."):
            j, last = name.removeprefix(f"{published}.linears.").split(".")
            out[f"{here}.{2 * int(j)}.{last}"] = value
        elif name.startswith(f"{published}.linear."):
            out[f"{here}.0.{name.rsplit('.', 1)[1]}"] = value
    return out
