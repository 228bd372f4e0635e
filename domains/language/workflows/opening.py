"""Models by folder or name, tokenizers, and texts as blocks of tokens."""

from pathlib import Path

from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from domains.language import tokenizer_files
from domains.language.radd import TextModel, load_model
from domains.language.sets import TextSet
from domains.language.token_files import Ends, Prepared, TokenFile, in_memory, open_tokens, write_tokens
from domains.language.tokenizer import Tokenizer, train_tokenizer
from domains.language.weights import SHIPPED, shipped

__all__ = ["open_model", "open_tokenizer", "tokens_of"]


def open_model(run: str, device: object = "cpu") -> TextModel:
    """The model of a run folder or file, or one that ships with the project.

    Raises:
        CheckpointError: there is none, or it is no model of text.
    """
    path = shipped(run) if run in SHIPPED and not Path(run).exists() else Path(run).expanduser()
    return load_model(path, device)  # type: ignore[arg-type]


def open_tokenizer(
    text: TextSet, folder: Path | None, kind: str | None, vocab_size: int | None
) -> tuple[Tokenizer, str]:
    """A tokenizer from its folder, or learned from the training split; and a line that says which.

    Raises:
        ConfigError: a folder and a kind are both given.
    """
    if folder is not None:
        if kind is not None or vocab_size is not None:
            raise ConfigError(
                "a tokenizer was given and another asked for.", hint="Leave out --kind and --vocab-size."
            )
        found = tokenizer_files.load(folder)
        return found, f"tokenizer of {folder}: {found.kind}, {found.size} tokens"
    name = kind or text.kind
    sources = tokenizer_files.origins(text.files.get("train", ()))
    size = vocab_size if name != "text8" else None
    texts = (item.text for item in text.documents("train"))
    made = train_tokenizer(name, texts, size, ends=text.ends, sources=sources)
    return made, f"{name} tokenizer learned from {text.name}: {made.size} tokens"


def tokens_of(
    text: TextSet,
    split: str,
    tokenizer: Tokenizer,
    *,
    normalise: bool = False,
    folder: Path | None = None,
    progress: Progress = silent,
) -> TokenFile:
    """A split as one stream of tokens, in memory or in a folder that is used again when it is there.

    Raises:
        DataError: the split has no text, or characters that the tokenizer lacks.
    """
    ends: Ends = "eos" if text.ends and tokenizer.eos_id is not None else "none"
    prepared = Prepared(normalise=normalise, ends=ends)
    if folder is None:
        found = in_memory(text.documents(split), tokenizer, prepared)
        if not found.count:
            raise DataError(f"{text.name} has no text to read.", hint="Give a file with text.")
        return found
    if (folder / "tokens.json").is_file():
        found = open_tokens(folder)
        found.check(tokenizer)
        return found
    return write_tokens(text.documents(split), tokenizer, folder, prepared, progress=progress)
