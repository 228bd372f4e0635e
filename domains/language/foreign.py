"""Weights of RADD and MDLM as networks of this package.

    theirs (RADD)                       ours
    vocab_embed.embedding (V + 1, d)    embed.weight, with a row of zeros for padding
    blocks.i.norm1, norm2               trunk.blocks.i.norm1, norm2; weight and bias
    blocks.i.attn_qkv, attn_out         trunk.blocks.i.qkv, out; rows of q, k, v stacked; no bias
    blocks.i.mlp.0, mlp.2               trunk.blocks.i.mlp.0, mlp.2
    output_layer.norm_final             norm
    output_layer.linear (V + 1, d)      weight, bias; the last row is the mask and is dropped

The mask is the last id in both. Heads turn their first half against the second (rotary, base 10000), as here.
RADD's layer-norm biases start at one in its code; what is stored is kept.

MDLM's blocks have norms without bias, and shift, scale and gate from a condition c. Without time conditioning
c is a constant, that of noise level zero, and all of it is folded into plain weights:

    norm       weight (1 + scale),  bias = shift
    attn_out   rows times gate;     mlp.2   rows and bias times gate

Sources: Ou et al. 2024, arXiv:2406.03736; Sahoo et al. 2024, arXiv:2406.07524; their published code for the
layouts.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch raises where a file holds more than tensors

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from core.errors import CheckpointError, ModelMismatch
from core.process import Masking, to_record
from core.train.checkpoint import Checkpoint, fill
from domains.language.config import TextConfig, checked
from domains.language.exchange import read_config
from domains.language.networks import TextNet
from domains.language.radd import FORMAT, ROLE, TextModel, model_of
from domains.language.tokenizer import Tokenizer

__all__ = ["foreign_network", "import_pretrained", "read_weights"]

PREFIX = re.compile(r"^(?:module\.|_orig_mod\.|backbone\.|model\.)+")
FILES = ("model.safetensors", "pytorch_model.bin")
HEAD_WIDTH = 64  # of both published sizes
LEVELS = 256  # width of MDLM's embedding of the noise level


def import_pretrained(
    path: Path, tokenizer: Tokenizer, *, heads: int | None = None, length: int | None = None
) -> TextModel:
    """A published model of masked text, ready to use.

    Args:
        path: a folder with `config.json` and `model.safetensors` or `pytorch_model.bin`, or the latter alone.
        tokenizer: that it was trained with; the published ones use the vocabulary of GPT-2.
        heads: of the attention; from `config.json`, else width / 64.
        length: it was trained on, tokens; from `config.json`, else 1024.

    Raises:
        CheckpointError: the weights cannot be read or are of another layout.
        ModelMismatch: the tokenizer has another size.
    """
    config = read_config(path) if path.is_dir() and (path / "config.json").is_file() else {}
    known = {**config, **config["model"]} if isinstance(config.get("model"), Mapping) else config
    weights = read_weights(path)
    heads = heads or known.get("n_heads")
    length = length or known.get("length") or known.get("model_length") or 1024
    net = foreign_network(weights, heads=heads)
    if net.vocab != tokenizer.size:
        raise ModelMismatch(
            f"the weights have {net.vocab} tokens and a mask, the tokenizer {tokenizer.size}.",
            hint="The published models use the vocabulary of GPT-2.",
        )
    shape = {key: net.config[key] for key in ("width", "depth", "heads", "dropout")}
    settings = checked(TextConfig, {"net": shape, "length": length})
    card = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "kind": tokenizer.kind,
        "config": settings.model_dump(mode="json"),
        "source": f"imported from {path.name}",
    }
    checkpoint = Checkpoint(
        weights=net.state_dict(),
        process=to_record(Masking(net.vocab, settings.survival)),
        predicts="x0",
        data_std=1.0,
        role=ROLE,
        net=net.config,
        training={"text": card},
    )
    return model_of(checkpoint, tokenizer)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a folder, a safetensors file or a file of torch; nothing but tensors is unpickled.

    Raises:
        CheckpointError: there is no such file, or it holds anything else.
    """
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise CheckpointError(f"{path} holds no {' and no '.join(FILES)}.")
        path = found[0]
    if not path.is_file():
        raise CheckpointError(f"there is no {path}.", hint="Name a folder or a file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as err:
        raise CheckpointError(f"{path.name} is truncated or no file of weights: {err}.") from err
    except UnpicklingError as err:
        raise CheckpointError(
            f"{path.name} holds more than tensors.",
            hint="Save its state dict alone, best as safetensors.",
        ) from err
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    tensors = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name} holds no tensors.")
    return tensors


def foreign_network(weights: Mapping[str, Tensor], *, heads: int | None = None) -> TextNet:
    """The network that RADD's or MDLM's weights describe, in evaluation mode.

    Prefixes of wrappers (`backbone.`, `module.`) are taken off. A checkpoint of SEDD has MDLM's layout and a
    condition that is not constant; it cannot be told apart here and must not be read.

    Raises:
        CheckpointError: another layout, or shapes that do not fit together.
    """
    theirs = {PREFIX.sub("", name): value.detach().float() for name, value in weights.items()}
    try:
        ours = _translated(theirs)
    except KeyError as err:
        raise CheckpointError(
            f"these weights are of another layout: {err} is missing.",
            hint="Known layouts are those of RADD and MDLM, with adaptive or plain norms.",
        ) from err
    vocab, width = ours["weight"].shape
    depth = len({name.split(".")[2] for name in ours if name.startswith("trunk.blocks.")})
    heads = width // HEAD_WIDTH if heads is None else heads
    if heads < 1 or width % (2 * heads):
        raise CheckpointError(
            f"a width of {width} does not split into {heads} heads.", hint="Pass the number of heads."
        )
    _check_rotary(theirs, width // heads)
    with torch.random.fork_rng(devices=[]):
        net = TextNet(vocab, width=width, depth=depth, heads=heads)
    fill(net, ours)
    return net.eval().requires_grad_(False)


def _translated(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    embedding, linear = theirs["vocab_embed.embedding"], theirs["output_layer.linear.weight"]
    if len(embedding) != len(linear):
        raise CheckpointError(
            f"the embedding has {len(embedding)} rows and the head {len(linear)}; both should hold the mask."
        )
    condition = _condition(theirs)
    count = 1 + max(
        (int(name.split(".")[1]) for name in theirs if re.match(r"blocks\.\d+\.", name)), default=-1
    )
    ours = {
        "embed.weight": torch.cat([embedding, torch.zeros_like(embedding[:1])]),
        "weight": linear[:-1],
        "bias": theirs["output_layer.linear.bias"][:-1],
    }
    moves = _moves(theirs, "output_layer.", condition, 2)
    ours |= _norm(theirs, "output_layer.norm_final", "norm", moves[0], moves[1])
    for i in range(count):
        here, there = f"trunk.blocks.{i}.", f"blocks.{i}."
        moves = _moves(theirs, there, condition, 6)
        ours |= _norm(theirs, f"{there}norm1", f"{here}norm1", moves[0], moves[1])
        ours |= _norm(theirs, f"{there}norm2", f"{here}norm2", moves[3], moves[4])
        ours[f"{here}qkv.weight"] = theirs[f"{there}attn_qkv.weight"]
        ours[f"{here}out.weight"] = _gated(theirs[f"{there}attn_out.weight"], moves[2])
        for part in ("weight", "bias"):
            ours[f"{here}mlp.0.{part}"] = theirs[f"{there}mlp.0.{part}"]
            ours[f"{here}mlp.2.{part}"] = _gated(theirs[f"{there}mlp.2.{part}"], moves[5])
    return ours


def _condition(theirs: Mapping[str, Tensor]) -> Tensor | None:
    """MDLM's c at noise level zero, (width,), float64; None in a layout without conditions."""
    if "sigma_map.mlp.0.weight" not in theirs:
        return None
    first, last = (theirs[f"sigma_map.mlp.{i}.weight"].double() for i in (0, 2))
    level = torch.cat([torch.ones(LEVELS // 2), torch.zeros(LEVELS // 2)]).double()  # cos 0 and sin 0
    inner = functional.silu(first @ level + theirs["sigma_map.mlp.0.bias"].double())
    return functional.silu(last @ inner + theirs["sigma_map.mlp.2.bias"].double())


def _moves(
    theirs: Mapping[str, Tensor], name: str, condition: Tensor | None, count: int
) -> list[Tensor | None]:
    """Shift, scale and gate of each branch under the constant condition."""
    if condition is None:
        return [None] * count
    weight, bias = (theirs[f"{name}adaLN_modulation.{part}"].double() for part in ("weight", "bias"))
    return list((weight @ condition + bias).chunk(count))


def _norm(
    theirs: Mapping[str, Tensor], name: str, ours: str, shift: Tensor | None, scale: Tensor | None
) -> dict[str, Tensor]:
    weight = theirs[f"{name}.weight"].double()
    if shift is None or scale is None:
        bias = theirs.get(f"{name}.bias", torch.zeros_like(weight)).double()
    else:
        bias = theirs.get(f"{name}.bias", torch.zeros_like(weight)).double() * (1 + scale) + shift
        weight = weight * (1 + scale)
    return {f"{ours}.weight": weight.float(), f"{ours}.bias": bias.float()}


def _gated(value: Tensor, gate: Tensor | None) -> Tensor:
    if gate is None:
        return value
    return (value.double() * gate.reshape(-1, *[1] * (value.ndim - 1))).float()


def _check_rotary(theirs: Mapping[str, Tensor], width: int) -> None:
    stored = theirs.get("rotary_emb.inv_freq")
    if stored is None:
        return
    if len(stored) != width // 2:
        raise CheckpointError(
            f"the stored rotation is of heads of width {2 * len(stored)}, not {width}.",
            hint="Pass the number of heads.",
        )
    ours = torch.exp(torch.arange(0, width, 2).double() * (-math.log(10_000.0) / width))
    if not torch.allclose(stored.double(), ours, rtol=1e-4):
        raise CheckpointError("the stored rotation has another base than 10000.")
