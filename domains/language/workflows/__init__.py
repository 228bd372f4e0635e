"""What a user asks for: tokenizers, training, writing, filling holes, scoring, correcting, searching."""

from domains.language.workflows.correcting import Correction, energy_file
from domains.language.workflows.exporting import export_model
from domains.language.workflows.scoring import evaluate_set, score_files
from domains.language.workflows.searching import search_file
from domains.language.workflows.tokenizing import inspect_tokenizer, tokenizer_file
from domains.language.workflows.training import train_text
from domains.language.workflows.writing import generate_file, infill_file

__all__ = [
    "Correction",
    "energy_file",
    "evaluate_set",
    "export_model",
    "generate_file",
    "infill_file",
    "inspect_tokenizer",
    "score_files",
    "search_file",
    "tokenizer_file",
    "train_text",
]
