"""Text as a sequence of tokens: tokenise, read, pack, measure; diffusion models that unmask it.

Only byte-level BPE needs the package `tokenizers`; it is imported where it is used.
"""
