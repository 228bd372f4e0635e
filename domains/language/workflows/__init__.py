"""What a user asks for: tokenizers, training, writing, filling holes, scoring."""

from domains.language.workflows.scoring import evaluate_set, score_files
from domains.language.workflows.tokenizing import inspect_tokenizer, tokenizer_file
from domains.language.workflows.training import train_text
from domains.language.workflows.writing import generate_file, infill_file

__all__ = [
    "evaluate_set",
    "generate_file",
    "infill_file",
    "inspect_tokenizer",
    "score_files",
    "tokenizer_file",
    "train_text",
]
