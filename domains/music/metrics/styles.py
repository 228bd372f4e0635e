"""Whether a song has the style asked for, by a tagger trained on real training data alone."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from domains.music.metrics.interval import Estimate, bootstrap
from domains.music.tagger import Tagger

__all__ = ["style_accuracy", "style_similarity", "tags_of"]


def style_accuracy(
    waves: Sequence[Tensor],
    rate: int,
    asked: Sequence[Mapping[str, str]],
    tagger: Tagger,
    *,
    field: str = "instrument",
    seed: int = 0,
) -> Estimate:
    """Share of songs whose likeliest tag of a field is the one asked for."""
    hits = []
    for wave, tags in zip(waves, asked, strict=True):
        probs = tagger.classify(wave, rate)[field]
        hits.append(float(max(probs, key=lambda tag: probs[tag]) == tags[field]))
    return bootstrap(hits, seed=seed)


def style_similarity(
    waves: Sequence[Tensor], rate: int, asked: Sequence[Mapping[str, str]], tagger: Tagger, *, seed: int = 0
) -> Estimate:
    """Mean cosine between a song and all the tags asked for, in the tagger's space."""
    cosines = []
    for wave, tags in zip(waves, asked, strict=True):
        with torch.no_grad():
            words = tagger.tag_vectors(tagger.given(tags)[None])[0]
        cosines.append(float(F.normalize(tagger.embed_audio(wave, rate), dim=0) @ words))
    return bootstrap(cosines, seed=seed)


def tags_of(style: str, judge: Tagger) -> dict[str, str]:
    """Style words as tags of the tagger, by field; other words are passed over."""
    fields = {tag: name for name, tags in judge.settings.vocabulary.items() for tag in tags}
    words = [word.strip().lower() for word in style.split(",")]
    return {fields[word]: word for word in words if word in fields}
