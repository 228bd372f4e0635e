"""The graph tests need the extra `graphs`, and say so where it is not installed."""

import pytest

for name in ("rdkit", "networkx", "torch_geometric"):
    pytest.importorskip(name, reason=f"'{name}' is not installed (extra 'graphs')")
