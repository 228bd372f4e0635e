"""Perplexities per word and byte of the raw article, as the published figures count them."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["process_results"]


def process_results(doc: Mapping[str, Any], results: Sequence[float]) -> dict[str, tuple[float, int]]:
    """ln p of an article and what it is divided by, for each metric of `suffuse_wikitext2`."""
    (log_prob,) = results
    return {
        "word_perplexity": (log_prob, doc["words"]),
        "byte_perplexity": (log_prob, doc["bytes"]),
        "bits_per_byte": (log_prob, doc["bytes"]),
    }
