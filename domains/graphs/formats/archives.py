"""Graphs in `.npz` archives, without pickled objects: our own, the published sets', and plain adjacencies.

| layout    | arrays                                                                             |
| --------- | ---------------------------------------------------------------------------------- |
| prepared  | sizes, labels, counts, pairs, orders, kind (JSON), and smiles, rows, split_*, property_* |
| published | num_nodes (G,), num_edges (G,), edges (sum E, 2), and train_idx, test_idx, val_idx  |
| padded    | nodes (G, N, F), edges (G, N, N), mask (G, N), and kind (JSON)                      |
| adjacency | adjacency (G, N, N) or A, and num_nodes (G,) where isolated nodes are nodes         |
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.atomic import replacing
from core.errors import DataError
from domains.graphs.data import Array, Graphs, GraphSet, Kind, Ragged

__all__ = ["read_npz", "write_npz"]

PARTS = ("sizes", "labels", "counts", "pairs", "orders")


def read_npz(path: Path) -> GraphSet:
    """Read any of the layouts above; splits are {} where the file has none.

    Raises:
        DataError: it is no such archive, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} is no .npz archive of plain arrays: {error}.",
            hint="Save it with numpy.savez_compressed, without objects.",
        ) from error
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: the array '{key}' holds NaN or infinity{_first_bad(array)}.")
    name = path.name.split(".")[0]
    if set(PARTS) <= set(arrays):
        return _prepared(arrays, path)
    if {"num_nodes", "num_edges", "edges"} <= set(arrays):
        return _published(arrays, name, path)
    if {"nodes", "edges", "mask"} <= set(arrays):
        graphs = Graphs(
            torch.as_tensor(arrays["nodes"], dtype=torch.float32),
            torch.as_tensor(arrays["edges"], dtype=torch.float32),
            torch.as_tensor(arrays["mask"]).bool(),
        ).checked()
        kind = _kind_of(arrays) or Kind(name, (), graphs.mask.shape[1], graphs.nodes.shape[2])
        return GraphSet(kind, Ragged.of(graphs), {})
    if found := next((key for key in ("adjacency", "A", "adj", "adjs") if key in arrays), None):
        return _adjacency(arrays[found], arrays.get("num_nodes"), name, path)
    raise DataError(
        f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; no layout of graphs has these arrays.",
        hint="Give 'adjacency' (G, N, N), or 'num_nodes', 'num_edges' and 'edges'.",
    )


def _first_bad(array: Array) -> str:
    if array.ndim < 2:
        return ""
    bad = ~np.isfinite(array.reshape(len(array), -1)).all(1)
    return f" (graph {int(np.flatnonzero(bad)[0])} is the first of {int(bad.sum())})"


def _kind_of(arrays: Mapping[str, Array]) -> Kind | None:
    return Kind.from_dict(json.loads(str(arrays["kind"]))) if "kind" in arrays else None


def _prepared(arrays: Mapping[str, Array], path: Path) -> GraphSet:
    ragged = Ragged(*(arrays[part].astype(np.int64) for part in PARTS))
    if (kind := _kind_of(arrays)) is None:
        raise DataError(f"{path} does not say of what kind its graphs are.", hint="Prepare it again.")
    _fit(ragged, path)
    smiles = tuple(str(arrays["smiles"]).split("\n")) if "smiles" in arrays else ()
    return GraphSet(
        kind,
        ragged,
        {key[6:]: arrays[key].astype(np.int64) for key in arrays if key.startswith("split_")},
        smiles,
        arrays.get("rows"),
        {key[9:]: arrays[key] for key in arrays if key.startswith("property_")},
    )


def _published(arrays: Mapping[str, Array], name: str, path: Path) -> GraphSet:
    sizes, counts = arrays["num_nodes"].astype(np.int64), arrays["num_edges"].astype(np.int64)
    pairs = arrays["edges"].astype(np.int64).reshape(-1, 2)
    ragged = Ragged(sizes, np.zeros(int(sizes.sum()), np.int64), counts, pairs, np.ones(len(pairs), np.int64))
    _fit(ragged, path)
    splits = {key[:-4]: arrays[key].astype(np.int64) for key in arrays if key.endswith("_idx")}
    return GraphSet(generic_kind(name, ragged), ragged, splits)


def generic_kind(name: str, ragged: Ragged, features: int | None = None) -> Kind:
    """The kind of generic graphs that holds these; F is the largest degree plus 1 unless it is given."""
    degrees = ragged.degrees
    return Kind(
        name,
        (),
        int(ragged.sizes.max(initial=1)),
        int(degrees.max(initial=0)) + 1 if features is None else features,
    )


def _fit(ragged: Ragged, path: Path) -> None:
    """Arrays of one length each, pairs u < v inside their graph, each once."""
    if len(ragged.counts) != len(ragged.sizes) or len(ragged.pairs) != int(ragged.counts.sum()):
        raise DataError(f"{path}: sizes and edge counts do not fit the lists of nodes and edges.")
    if len(ragged.labels) != int(ragged.sizes.sum()):
        raise DataError(
            f"{path}: {len(ragged.labels)} labels for {int(ragged.sizes.sum())} nodes do not fit together."
        )
    owner = np.repeat(np.arange(len(ragged)), ragged.counts)
    u, v = ragged.pairs.T
    for what, bad in (
        ("a self-loop", u == v),
        ("a node number out of range", (np.minimum(u, v) < 0) | (np.maximum(u, v) >= ragged.sizes[owner])),
        ("an edge that is not written smaller node first", u > v),
    ):
        if bad.any():
            raise DataError(f"{path}: graph {int(owner[bad][0])} has {what}; simple graphs are needed.")
    if len(np.unique(np.stack([owner, u, v]), axis=1).T) < len(owner):
        raise DataError(f"{path}: an edge is listed twice; simple graphs are needed.")


def _adjacency(array: Array, num_nodes: Array | None, name: str, path: Path) -> GraphSet:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise DataError(f"{path}: the adjacency must be (G, N, N), got {array.shape}.")
    if not np.isin(array, (0, 1)).all():
        graph = int(np.flatnonzero(~np.isin(array, (0, 1)).reshape(len(array), -1).all(1))[0])
        raise DataError(
            f"{path}: graph {graph} is weighted (values other than 0 and 1); simple graphs are needed.",
            hint="Threshold the adjacency first.",
        )
    edges = torch.as_tensor(array, dtype=torch.float32)
    if num_nodes is None:
        # The last node with an edge, so that isolated nodes before it stay nodes.
        linked = array.any(2) * np.arange(1, array.shape[1] + 1)
        num_nodes = linked.max(1) if array.shape[1] else np.zeros(len(array))
    mask = torch.arange(array.shape[1]) < torch.as_tensor(num_nodes.astype(np.int64))[:, None]
    graphs = Graphs(torch.zeros(*mask.shape, 1), edges, mask)
    try:
        ragged = Ragged.of(graphs.checked())
    except DataError as error:
        raise DataError(f"{path}: {error}", hint=error.hint) from None
    return GraphSet(generic_kind(name, ragged), ragged, {})


def write_npz(path: Path, graphs: GraphSet, *, overwrite: bool = False) -> None:
    """Write the prepared layout, complete or not at all."""
    arrays: dict[str, Any] = {part: getattr(graphs.ragged, part) for part in PARTS}
    arrays["kind"] = np.asarray(json.dumps(graphs.kind.to_dict()))
    if graphs.smiles:
        arrays["smiles"] = np.asarray("\n".join(graphs.smiles))
    if graphs.rows is not None:
        arrays["rows"] = graphs.rows
    arrays |= {f"split_{name}": at for name, at in graphs.splits.items()}
    arrays |= {f"property_{name}": values for name, values in graphs.properties.items()}
    small = {part: _small(arrays[part]) for part in PARTS}
    with replacing(path, overwrite=overwrite) as draft:
        np.savez_compressed(draft, **(arrays | small))


def _small(array: Array) -> Array:
    """The same whole numbers in the smallest unsigned type."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))
