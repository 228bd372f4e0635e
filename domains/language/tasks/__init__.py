"""Tasks of lm-evaluation-harness that need no download, and the Python functions that they name."""
