"""Metrics of text, each meant to stand beside its floor: the same metric of held-out text, or a baseline's.

samples    unigram entropy, distinct-n, self-BLEU, repetition: what perplexity of samples hides
bleu       corpus and sentence BLEU
captions   ROUGE-L and CIDEr-D
bits       nats into perplexity, bits per byte and per character, with standard errors
mauve      MAUVE, where its package is installed
"""

from domains.language.metrics.bits import Likelihood, likelihood
from domains.language.metrics.bleu import Bleu, corpus_bleu, sentence_bleu
from domains.language.metrics.captions import caption_words, cider_d, rouge_l
from domains.language.metrics.mauve import mauve, shown
from domains.language.metrics.samples import distinct, repetition_rate, self_bleu, unigram_entropy

__all__ = [
    "Bleu",
    "Likelihood",
    "caption_words",
    "cider_d",
    "corpus_bleu",
    "distinct",
    "likelihood",
    "mauve",
    "repetition_rate",
    "rouge_l",
    "self_bleu",
    "sentence_bleu",
    "shown",
    "unigram_entropy",
]
