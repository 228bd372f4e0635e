"""Readers and writers of graphs and molecules; `domains.graphs.sets.read_set` chooses among them."""

from domains.graphs.formats.archives import read_npz, write_npz
from domains.graphs.formats.networks import read_networks, read_pt
from domains.graphs.formats.reading import Reading
from domains.graphs.formats.tables import read_sdf, read_smiles_list
from domains.graphs.formats.write import WRITABLE, write_samples

__all__ = [
    "WRITABLE",
    "Reading",
    "read_networks",
    "read_npz",
    "read_pt",
    "read_sdf",
    "read_smiles_list",
    "write_npz",
    "write_samples",
]
