"""Graphs that hold a given part: a scaffold's nodes and edges stay, the rest is drawn around it.

The scaffold takes the first k nodes. Known are its nodes, its pairs, and that atoms other than the chosen
attachment atoms bond to nothing else. Two rules put it in:

    explicit      the known entries of the denoised state are those of the scaffold; Denoiser -> Denoiser, so
                  every plan runs it
    replacement   the known entries of the state are the noised scaffold at every time; each row is walked
                  `jumps` times, noised back in between

`explicit` is the noise-free limit of `core.steer.measured.explicit` for entries that are seen as they are.

Sources: replacement with jumps: Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rdkit import Chem, rdBase
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError, DataError
from core.plan import JointRow, Plan
from core.process.forward import renoised
from core.progress import Progress, silent
from core.run import sample
from core.steer.guidance import Guided
from domains.graphs.config import GraphSampling
from domains.graphs.data import Graphs, Kind
from domains.graphs.gdss import PARTS, GraphModel
from domains.graphs.molecules import entry_of
from domains.graphs.quantise import Quantised, quantise
from domains.graphs.sampling import draw_sizes, empty_state, plan_of, seeds_for, start_of
from domains.graphs.valency import Molecules, molecules_of

__all__ = ["Grown", "Scaffold", "explicit", "grow", "scaffold_of"]

Method = Literal["explicit", "replacement"]


@dataclass(frozen=True)
class Scaffold:
    """What must stay.

    Attributes:
        labels: element of each of its k atoms.
        orders: (k, k) bond orders, symmetric.
        attach: atoms that may bond to new ones.
        query: RDKit molecule for the final check.
    """

    labels: tuple[int, ...]
    orders: Tensor
    attach: tuple[int, ...]
    query: Any

    def __len__(self) -> int:
        return len(self.labels)


def scaffold_of(smiles: str, kind: Kind, attach: Sequence[int] | None = None) -> Scaffold:
    """Read a scaffold.

    Args:
        smiles: one molecule; neighbours of "*" are the attachment atoms, unless `attach` names some.
        attach: atoms (0-based, in the order of the SMILES without "*") that may bond to new ones; all with a
            free valence by default.

    Raises:
        DataError: the SMILES cannot be read, breaks a valence, has several fragments, charges, an unknown
            element or more atoms than N.
        ConfigError: an attachment atom is not there or has no free valence.
    """
    if not kind.molecular:
        raise ConfigError(f"'{kind.name}' holds no molecules; a scaffold is one.")
    mol, marked = _parsed(smiles)
    if marked and attach is None:
        attach = marked
    k = mol.GetNumAtoms()
    if k > kind.max_nodes:
        raise DataError(
            f"the scaffold has {k} heavy atoms, '{kind.name}' holds {kind.max_nodes}.",
            hint="Take a smaller scaffold, or a model of larger molecules.",
        )
    try:
        labels, pairs, strengths = entry_of(mol, {name: i for i, name in enumerate(kind.atoms)})
    except DataError as error:
        raise DataError(
            f"the scaffold {smiles!r}: {error}", hint="Take a model whose elements include it."
        ) from None
    orders = torch.zeros(k, k)
    for (u, v), order in zip(pairs, strengths, strict=True):
        orders[u, v] = orders[v, u] = order
    free = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs() > 0]
    chosen = tuple(free if attach is None else attach)
    if bad := [i for i in chosen if i not in free]:
        raise ConfigError(
            f"atom {bad[0]} of the scaffold cannot be an attachment (free: {', '.join(map(str, free))}).",
            hint="Choose atoms with a free valence, counted from 0.",
        )
    return Scaffold(tuple(labels), orders, chosen, mol)


def _parsed(smiles: str) -> tuple[Any, tuple[int, ...]]:
    """The molecule of a scaffold, and the atoms that its SMILES marks with "*"."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or not mol.GetNumAtoms():
            raise DataError(
                f"the scaffold {smiles!r} cannot be read: it is no SMILES, or an atom exceeds its valence.",
                hint="Check it with any editor of molecules.",
            )
        if len(Chem.GetMolFrags(mol)) > 1:
            raise DataError(
                f"the scaffold {smiles!r} has several fragments.",
                hint="Give one connected part of a molecule.",
            )
        if charged := next((atom for atom in mol.GetAtoms() if atom.GetFormalCharge()), None):
            raise DataError(
                f"the scaffold {smiles!r} has a charge on atom {charged.GetIdx()}, "
                f"{charged.GetSymbol()}; graphs hold none.",
                hint="Write it neutral.",
            )
        stars = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
        if not stars:
            return mol, ()
        rest = [i for i in range(mol.GetNumAtoms()) if i not in stars]
        ends = [end.GetIdx() for star in stars for end in mol.GetAtomWithIdx(star).GetNeighbors()]
        edited = Chem.RWMol(mol)
        for star in reversed(stars):
            for end in edited.GetAtomWithIdx(star).GetNeighbors():
                end.SetNoImplicit(False)
                end.SetNumExplicitHs(0)
            edited.RemoveAtom(star)
        if not rest or Chem.SanitizeMol(edited, catchErrors=True) != Chem.SANITIZE_NONE:
            raise DataError(f"the scaffold {smiles!r} is no molecule without its marks '*'.")
        return edited.GetMol(), tuple(sorted({rest.index(end) for end in ends if end in rest}))


@dataclass(frozen=True)
class Known:
    """Entries that are known, and their values, for a batch of N nodes: of nodes (N, F), of edges (N, N)."""

    nodes: Tensor
    edges: Tensor
    values: dict[str, Tensor]

    def put(self, x: Any, values: Any) -> dict[str, Any]:
        """x with its known entries taken from values; the mask stays."""
        out = dict(x)
        for name, where in (("nodes", self.nodes), ("edges", self.edges)):
            out[name] = torch.where(where.to(x[name].device), values[name].to(x[name]), x[name])
        return out


def known_of(scaffold: Scaffold, kind: Kind, mask: Tensor) -> Known:
    """The scaffold on the first k nodes of graphs with this mask (B, N)."""
    n, k = kind.max_nodes, len(scaffold)
    nodes = torch.zeros(n, kind.features)
    nodes[torch.arange(k), torch.tensor(scaffold.labels)] = 1.0
    edges = torch.zeros(n, n)
    edges[:k, :k] = scaffold.orders
    seen_nodes = (torch.arange(n) < k)[:, None].expand(n, kind.features)
    closed = torch.zeros(n, dtype=torch.bool)
    closed[:k] = True
    inside = closed[:, None] & closed[None]
    closed[list(scaffold.attach)] = False
    seen_edges = inside | closed[:, None] | closed[None]
    b = len(mask)
    values = {"nodes": nodes.expand(b, -1, -1), "edges": edges.expand(b, -1, -1), "mask": mask}
    return Known(seen_nodes, seen_edges, values)


def explicit(known: Known) -> Callable[[Denoiser], Guided]:
    """Take the known entries of the denoised state from the scaffold."""

    def steer(denoiser: Denoiser) -> Guided:
        def answer(x: Any, t: Any, cond: Any) -> Posterior:
            return Posterior(mean=known.put(denoiser(x, t, cond).mean, known.values))

        return Guided(denoiser.process, answer)

    return steer


@dataclass(frozen=True)
class Grown:
    """What was drawn around a scaffold.

    Attributes:
        raw, quantised: all graphs.
        molecules: after correction.
        kept: (B,) which of them hold the scaffold.
    """

    raw: Graphs
    quantised: Quantised
    molecules: Molecules
    kept: Tensor

    @property
    def rate(self) -> float:
        """Share of the graphs that hold the scaffold, in [0, 1]."""
        return float(self.kept.double().mean())


def grow(
    model: GraphModel,
    scaffold: Scaffold,
    count: int,
    *,
    method: Method = "explicit",
    jumps: int = 1,
    sampling: GraphSampling | None = None,
    seed: int = 0,
    sizes: Any = None,
    steer: Callable[[Denoiser], Denoiser] | None = None,
    progress: Progress = silent,
) -> Grown:
    """Draw graphs around a scaffold.

    Args:
        method: see the module docstring.
        jumps: times each row is walked, for "replacement"; 1 is once.
        sizes: nodes of each graph, the scaffold's included; None draws those training sizes that hold it.

    Raises:
        ConfigError: sizes too small for the scaffold, or a plan that remembers earlier states with jumps.
    """
    if count < 1 or jumps < 1:
        raise ConfigError(f"at least one graph and one walk of each row are needed, got {count} and {jumps}.")
    chosen = model.sampling if sampling is None else sampling
    plan = plan_of(model.process, chosen, data_std=model.denoiser.data_std)
    numbers = list(range(count))
    nodes = draw_sizes(model, numbers, seed, sizes)
    if sizes is None:
        nodes = nodes.clamp(min=min(len(scaffold) + 1, model.kind.max_nodes))
    if int(nodes.min()) < len(scaffold):
        raise ConfigError(f"a graph of {int(nodes.min())} nodes cannot hold {len(scaffold)} atoms.")
    denoiser: Denoiser = model.denoiser if steer is None else steer(model.denoiser)
    parts = []
    for begin in range(0, count, chosen.chunk):
        some = slice(begin, begin + chosen.chunk)
        gen = seeds_for(seed, numbers[some])
        like = empty_state(model, nodes[some])
        known = known_of(scaffold, model.kind, like["mask"])
        x: Any = start_of(model, like, gen, chosen, plan.start)
        if method == "explicit":
            x = sample(plan, explicit(known)(denoiser), x, gen)
        else:
            x = _replaced(plan, denoiser, known, x, gen, jumps)
        parts.append({key: value.cpu() for key, value in known.put(x, known.values).items()})
        progress("grow", min(begin + chosen.chunk, count), count, None)
    raw = Graphs.cat(Graphs.from_state(part) for part in parts)
    found = quantise(raw, model.kind, chosen.quantise)
    molecules = molecules_of(found.ragged, model.kind)
    kept = [mol is not None and mol.HasSubstructMatch(scaffold.query) for mol in molecules.mols]
    return Grown(raw, found, molecules, torch.tensor(kept))


def _replaced(plan: Plan, denoiser: Denoiser, known: Known, x: Any, gen: Any, jumps: int) -> Any:
    """Walk a plan with the known entries at their noised values, each row `jumps` times."""
    process: Any = denoiser.process
    if plan.order > 1:
        raise ConfigError(
            "replacement changes the states that later rows remember.", hint="Use a solver of one step."
        )

    def noised(t: float) -> Any:
        return process.perturb(known.values, t, gen)[0]

    x = known.put(x, noised(plan.start))
    for row in plan.rows:
        assert isinstance(row, JointRow)
        walks = jumps if row.s < row.t and all(process.parts[k].sigma(row.s) > 0 for k in PARTS) else 1
        for walk in range(walks):
            after = sample(Plan("row", (row,)), denoiser, x, gen)
            x = known.put(after, noised(row.s))
            if walk < walks - 1:
                x = known.put(renoised(process, x, row.s, row.t, gen), noised(row.t))
    return x
