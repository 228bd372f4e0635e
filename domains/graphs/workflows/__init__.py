"""What a user asks of graphs and molecules, one function each."""

from domains.graphs.workflows.evaluating import evaluate_file
from domains.graphs.workflows.preparing import draw_file, prepare_file
from domains.graphs.workflows.sampling import sample_file

__all__ = ["draw_file", "evaluate_file", "prepare_file", "sample_file"]
