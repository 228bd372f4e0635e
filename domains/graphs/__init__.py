"""Graphs and molecules: read, quantise, measure and draw them; coupled diffusion over nodes and edges.

Every module here needs RDKit and NetworkX; PyTorch Geometric, pandas, fcd_torch and matplotlib are imported
where they are used.
"""

from core.extras import require

require("rdkit", extra="graphs")
require("networkx", extra="graphs")
