"""Noise search: better samples from more evaluations, spent on the noise instead of on steps.

The model is fixed and so is the plan; what is searched is the noise that a run starts from, by what a
verifier says of the clean state it ends in:

    random       best of n independent runs
    zero-order   a pivot and neighbours of its starting noise on the sphere; the best is the next pivot.
                 Tokens: a neighbour draws anew at a share of the positions, and as its pivot at the others
    paths        keep m partial runs, noise each back a little, run on, keep the best m

Every result says how many evaluations it took, holds all candidates, and carries a second verifier that was
not searched on: what rises in the first and not in the second was over-optimised.

Source: Ma et al. 2025, arXiv:2501.09732, section 3.
"""

from core.infer.search.methods import METHODS, cost, search
from core.infer.search.settings import Found, Search, Tried, Verifier, named, tried

__all__ = ["METHODS", "Found", "Search", "Tried", "Verifier", "cost", "named", "search", "tried"]
