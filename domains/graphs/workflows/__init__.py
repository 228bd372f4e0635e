"""What a user asks of graphs and molecules, one function each; `suffuse graphs` calls these.

Each reads and checks everything before it writes anything; `ready` is told in between (see `core.outlook`).
"""

from domains.graphs.workflows.animating import animate_file
from domains.graphs.workflows.evaluating import evaluate_file
from domains.graphs.workflows.guiding import guide_file
from domains.graphs.workflows.preparing import draw_file, prepare_file
from domains.graphs.workflows.properties import train_property_file
from domains.graphs.workflows.sampling import sample_file
from domains.graphs.workflows.scaffolds import scaffold_file
from domains.graphs.workflows.training import train_file

__all__ = [
    "animate_file",
    "draw_file",
    "evaluate_file",
    "guide_file",
    "prepare_file",
    "sample_file",
    "scaffold_file",
    "train_file",
    "train_property_file",
]
