"""Named sets and files: `read_set` turns whatever holds graphs or molecules into a `GraphSet`.

community_small, ego_small, enzymes,   published sets with their splits, found in the data folders
grid, comm20
qm9, zinc250k                          published molecules with their test rows, likewise
community, planar, tree, sbm           drawn here, no download
small_molecules                        every C/N/O/F molecule of up to 5 heavy atoms, no download
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.errors import ConfigError, DataError, unknown
from data import store
from data.synthetic import graphs as synthetic
from domains.graphs.data import KINDS, Array, GraphSet, Kind, Ragged
from domains.graphs.enumeration import enumerate_molecules
from domains.graphs.formats.archives import generic_kind, read_npz
from domains.graphs.formats.networks import NETWORKS, read_networks, read_pt
from domains.graphs.formats.reading import Reading, held_out, read_split_file, splits_of
from domains.graphs.formats.tables import read_sdf, read_smiles_list, table_molecules
from domains.graphs.molecules import Accept, Parsed, parse_smiles

__all__ = ["BUILTIN", "NAMED", "SUFFIXES", "read_set"]

SUFFIXES = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".parquet", ".sdf", ".mol", ".npz", ".pt", *NETWORKS)
MOLECULES = {"qm9": "qm9_test_rows", "zinc250k": "zinc250k_test_rows"}
SMALL = Kind("small_molecules", ("C", "N", "O", "F"), 5, 4)
DRAWS: Mapping[str, tuple[Callable[[np.random.Generator], synthetic.Graph], int]] = {
    "community": (synthetic.communities, 100),
    "planar": (synthetic.planar, 200),
    "sbm": (synthetic.sbm, 200),
    "tree": (synthetic.tree, 200),
}
"""Function and number of graphs of each set that is drawn here."""
NAMED = tuple(sorted(KINDS))
BUILTIN = (*sorted(DRAWS), "small_molecules")


def read_set(source: str | Path, reading: Reading = Reading()) -> GraphSet:
    """Read a named set, a file, or a folder of GraphML files and edge lists.

    Args:
        source: a path (see `SUFFIXES`, ".gz" and ".xz" after text), or a name of `NAMED` or `BUILTIN`. A path
            that exists wins over a name.
        reading: how.

    Returns:
        Graphs with splits "train" and "test"; `reading.split` leaves that one alone, read without the rest.

    Raises:
        ConfigError: there is no set of that name.
        DataError: the source cannot be found or used; one line names file, row or graph, and what to do.
    """
    path, name = Path(source).expanduser(), str(source)
    if path.exists():
        found = _read_file(path, reading)
    elif name in DRAWS:
        found = _split(_drawn(name), reading, len_of=DRAWS[name][1])
    elif name == SMALL.name:
        found = _small(reading)
    elif name in MOLECULES:
        return _limited(_published_molecules(name, reading), reading)
    elif name in KINDS:
        found = read_npz(store.path(name, data_dir=reading.data_dir) / f"{name}.npz")
        found = _split(replace(found, kind=KINDS[name]), reading, len_of=len(found))
    else:
        known = ", ".join((*NAMED, *BUILTIN))
        if path.suffix or len(path.parts) > 1:
            raise DataError(f"there is no file {path}.", hint=f"Give a path, or one of: {known}.")
        raise unknown("set of graphs", name, (*NAMED, *BUILTIN))
    found = found if found.kind.molecular else _fitted(found, reading)
    return _limited(found if reading.split is None else found.take(found.at(reading.split)), reading)


def _limited(found: GraphSet, reading: Reading) -> GraphSet:
    if reading.limit is None or reading.limit >= len(found):
        return found
    # Another stream than that of `held_out`, whose permutation would give the test rows first.
    chosen = np.random.default_rng([reading.seed, 1]).permutation(len(found))[: reading.limit]
    return found.take(np.sort(chosen)).noted(f"{reading.limit} of {len(found)} graphs, drawn at random.")


def _split(found: GraphSet, reading: Reading, *, len_of: int) -> GraphSet:
    """The splits of the split file, else those the source has, else rows held out at random."""
    if reading.split_file is not None:
        rows = np.arange(len(found)) if found.rows is None else found.rows
        named = read_split_file(reading.split_file)
        return replace(found, splits=splits_of(named, len_of, rows, source=found.name))
    if found.splits:
        return found
    return replace(found, splits=held_out(len(found), reading.test_share, reading.seed))


def _fitted(found: GraphSet, reading: Reading) -> GraphSet:
    """Generic graphs with the N and F asked for, once they are known to fit."""
    sizes, kind = found.ragged.sizes, found.kind
    for n, what in ((0, "is empty"), (1, "has a single node")):
        if len(bad := np.flatnonzero(sizes == n)) and not (n and reading.single):
            raise DataError(
                f"{found.name}: graph {bad[0]} {what} ({len(bad)} of {len(sizes)} graphs).",
                hint="Leave such graphs out.",
            )
    if (limit := reading.accept.max_nodes) is not None:
        if len(large := np.flatnonzero(sizes > limit)):
            if not reading.accept.drop_large:
                raise DataError(
                    f"{found.name}: graph {large[0]} has {sizes[large[0]]} nodes, at most {limit} are held.",
                    hint="Raise --max-nodes, or pass --drop-large to leave such graphs out and count them.",
                )
            found = found.take(np.flatnonzero(sizes <= limit)).noted(f"{len(large)} graphs are too large.")
        kind = replace(kind, max_nodes=limit)
    if reading.features is not None:
        degrees = found.ragged.degrees
        if len(degrees) and (most := int(degrees.max())) >= reading.features:
            owner = np.repeat(np.arange(len(found)), found.ragged.sizes)
            raise DataError(
                f"{found.name}: graph {owner[int(degrees.argmax())]} has a node of degree {most}; features="
                f"{reading.features} hold degrees up to {reading.features - 1}.",
                hint=f"Take {most + 1} features, or leave the graph out.",
            )
        kind = replace(kind, features=reading.features)
    return replace(found, kind=kind)


def _read_file(path: Path, reading: Reading) -> GraphSet:
    """Dispatch on the extension."""
    suffix = path.suffix.lower()
    if suffix in (".gz", ".xz", ".bz2"):
        suffix = Path(path.stem).suffix.lower()
    if path.is_dir() or suffix in NETWORKS:
        found = read_networks(path)
        return _split(found, reading, len_of=len(found))
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.", hint="Give a file with at least one graph or molecule.")
    if suffix == ".npz":
        found = read_npz(path)
        return _split(
            found, reading, len_of=int(found.rows.max()) + 1 if found.rows is not None else len(found)
        )
    if suffix in (".pt", ".pth"):
        found = read_pt(path)
        return _split(found, reading, len_of=len(found))
    name = path.name.split(".")[0]
    if suffix in (".smi", ".smiles", ".txt"):
        lines = read_smiles_list(path)
        parsed = parse_smiles(lines, reading.accept, source=str(path))
        return _molecules(name, parsed, len(lines), {}, reading)
    if suffix in (".csv", ".tsv", ".parquet"):
        texts, values = table_molecules(path, reading)
        parsed = parse_smiles(texts, reading.accept, source=str(path))
        return _molecules(name, parsed, len(texts), values, reading)
    if suffix in (".sdf", ".mol"):
        parsed, values, total = read_sdf(path, reading)
        return _molecules(name, parsed, total, values, reading)
    raise DataError(
        f"{path}: '{suffix or path.name}' is no known type of graphs or molecules "
        f"(known: {', '.join(SUFFIXES)}).",
        hint="Save molecules as SMILES, one a line, and graphs as .npz.",
    )


def _molecules(
    name: str, parsed: Parsed, total: int, values: Mapping[str, Array], reading: Reading
) -> GraphSet:
    accept = reading.accept
    largest = int(parsed.ragged.sizes.max())
    kind = Kind(name, parsed.atoms, accept.max_nodes or largest, len(parsed.atoms))
    properties = {key: column[parsed.rows] for key, column in values.items()}
    found = GraphSet(kind, parsed.ragged, {}, parsed.smiles, parsed.rows, properties)
    notes = [f"{n} of {total} rows: {reason}." for reason, n in parsed.left_out.items()]
    return _split(found, reading, len_of=total).noted(*notes)


def _published_molecules(name: str, reading: Reading) -> GraphSet:
    """QM9 or ZINC250k: of the split or the limit asked for, only those rows are parsed."""
    folder = store.path(name, data_dir=reading.data_dir)
    lines = read_smiles_list(folder / f"{name}_smiles.txt.xz")
    with np.load(folder / "molecule_splits.npz", allow_pickle=False) as file:
        tests = file[MOLECULES[name]].astype(np.int64)
    named = {"train": np.setdiff1d(np.arange(len(lines)), tests), "test": tests}
    if reading.split_file is not None:
        named = read_split_file(reading.split_file)
    if reading.split is not None and reading.split not in named:
        raise unknown(f"split of '{name}'", reading.split, named)
    rows = np.arange(len(lines)) if reading.split is None else np.sort(named[reading.split])
    if reading.limit is not None and reading.limit < len(rows):
        rows = np.sort(np.random.default_rng([reading.seed, 1]).permutation(rows)[: reading.limit])
    kind = KINDS[name]
    accept = replace(
        reading.accept,
        atoms=reading.accept.atoms or kind.atoms,
        max_nodes=reading.accept.max_nodes or kind.max_nodes,
    )
    parsed = parse_smiles([lines[i] for i in rows], accept, source=name, numbers=rows)
    if reading.split is not None:
        splits = {reading.split: np.arange(len(parsed.rows))}
    else:
        splits = splits_of(named, len(lines), parsed.rows, source=name)
    notes = [f"{n} rows: {reason}." for reason, n in parsed.left_out.items()]
    if name == "zinc250k":
        notes.append("the test rows number a list with one row fewer; see the card of the set.")
    own = replace(kind, atoms=parsed.atoms, features=len(parsed.atoms), max_nodes=accept.max_nodes or 1)
    return GraphSet(own, parsed.ragged, splits, parsed.smiles, parsed.rows, notes=tuple(notes))


def _drawn(name: str) -> GraphSet:
    draw, n = DRAWS[name]
    gen = np.random.default_rng(0)
    graphs = [draw(gen) for _ in range(n)]
    ragged = Ragged.build(([0] * size, [(int(u), int(v)) for u, v in edges], None) for size, edges in graphs)
    return GraphSet(generic_kind(name, ragged), ragged, {})


def _small(reading: Reading) -> GraphSet:
    """The closed set; `max_nodes` and `elements` choose another size and vocabulary."""
    atoms = reading.accept.atoms or SMALL.atoms
    size = reading.accept.max_nodes or SMALL.max_nodes
    if size > 7:
        raise ConfigError(
            f"molecules of up to {size} atoms are too many to enumerate.", hint="Take --max-nodes 7 or less."
        )
    parsed, count = _enumerated(size, replace(reading.accept, atoms=atoms))
    return _molecules(SMALL.name, parsed, count, {}, reading)


@functools.lru_cache(maxsize=4)
def _enumerated(size: int, accept: Accept) -> tuple[Parsed, int]:
    """Every molecule of up to `size` atoms, and their number; kept, since five atoms take seconds."""
    assert accept.atoms is not None
    smiles = enumerate_molecules(size, accept.atoms)
    return parse_smiles(smiles, accept, source=SMALL.name), len(smiles)
