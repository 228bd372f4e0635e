"""A text model under lm-evaluation-harness (package `lm-eval`, tested with 0.4.13).

    loglikelihood           minus the any-order bound of the continuation, its context given (exact for causal
                            models); greedy: whether the likeliest token, left to right, is always its own
    loglikelihood_rolling   the same of a document, in windows of the model's length
    generate_until          written block by block, the surest token first, until a stop string

A bound is not a probability: figures of models of masks are lower bounds of ln p, and a perplexity made from
them is an upper bound in expectation. A request's value depends on that request and the seed alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.density.tokens import any_order_bound
from core.errors import ConfigError, DataError
from core.extras import require
from core.process import Masking
from core.train import mixed_seed
from domains.language.config import Generation
from domains.language.generation import denoiser_of, generate
from domains.language.networks import causal_nats
from domains.language.radd import TextModel

__all__ = ["Scorer", "harness_model"]

NEW = 256  # tokens that a task may leave unsaid, as in the harness
BLOCK = 32


@dataclass(frozen=True)
class Scorer:
    """What the harness asks for, without the harness.

    Args:
        model: of masks or causal.
        draws: masks per continuation; not used by causal models.
        seed: of masks and texts.
        chunk: sequences at once.

    Raises:
        ConfigError: a model of uniform noise or of blocks, which this does not score.
    """

    model: TextModel
    draws: int = 16
    seed: int = 0
    chunk: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.model.process, Masking) or self.model.config.block is not None:
            raise ConfigError("the harness scores models of masks and causal ones.")
        if self.draws < 1 or self.chunk < 1:
            raise ConfigError(f"draws and chunk must be at least 1, got {self.draws} and {self.chunk}.")

    @property
    def causal(self) -> bool:
        return self.model.config.kind == "causal"

    def split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of both. Spaces at the end of the context go to the continuation, where tokens begin with them.

        An empty context is the end of text, where there is one; a long one loses its beginning.

        Raises:
            DataError: the continuation is empty or longer than the model reads.
        """
        kept = context.rstrip(" ")
        ids = self._encoded(context + continuation)
        given = self._encoded(kept) if kept else []
        own = ids[len(given) :]
        if not own or len(own) > self.model.length:
            raise DataError(
                f"a continuation has {len(own)} tokens, the model scores 1 to {self.model.length}.",
                hint="Use a task with shorter answers, or a longer model.",
            )
        eos = self.model.tokenizer.eos_id
        given = given or ([eos] if eos is not None else [])
        room = self.model.length - len(own)
        return given[len(given) - room :] if len(given) > room else given, own

    def log_probs(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """ln p (or its bound) of each continuation given its context, nats."""
        out: list[float] = []
        for part in self._parts(pairs):
            tokens, where = self._rows(part)
            if self.causal:
                with torch.no_grad():
                    out += (-causal_nats(self.model.net, tokens, where)).tolist()
                continue
            seeds = [mixed_seed(self.seed, "harness", *given, "then", *own) for given, own in part]
            state = {"tokens": tokens, "mask": where}
            found = any_order_bound(denoiser_of(self.model), state, seeds, draws=self.draws, chunk=self.chunk)
            out += (-found.nats).tolist()
        return out

    def greedy(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[bool]:
        """Whether each continuation is what left-to-right choice of the likeliest token writes.

        What follows a token is masked, so that a model of masks knows how long the continuation is.
        """
        out: list[bool] = []
        mask = self.model.process.mask_token  # type: ignore[union-attr]
        denoiser = denoiser_of(self.model)
        for part in self._parts(pairs):
            tokens, where = self._rows(part)
            same = torch.ones(len(part), dtype=torch.bool, device=tokens.device)
            place = where.cumsum(1) * where
            for j in range(1, int(where.sum(1).max()) + 1):
                at = (place == j) & same[:, None]
                rows = at.any(1)
                if not bool(rows.any()):
                    break
                hidden = torch.where(where & (place >= j), mask, tokens)[rows]
                with torch.no_grad():
                    guess = denoiser(hidden, 1.0).at(at[rows]).argmax(-1)
                same[rows] = guess == tokens[at]
            out += same.tolist()
        return out

    def rolling(self, text: str) -> float:
        """ln p (or its bound) of a document: windows of the model's length, the last one as full as the rest.

        The last window gives its remainder of the document what comes before it; the others begin anew.
        """
        ids = self._encoded(text)
        if not ids:
            return 0.0
        eos = self.model.tokenizer.eos_id
        start = [eos] if eos is not None else []
        length = self.model.length
        first = ids[: length - len(start)]
        pairs: list[tuple[list[int], list[int]]] = [(start, first)]
        for at in range(len(first), len(ids), length):
            own = ids[at : at + length]
            before = ids[max(0, at + len(own) - length) : at]
            pairs.append((before, own))
        return sum(self.log_probs(pairs))

    def until(self, contexts: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
        """Continue each context up to the first stop string.

        Args:
            settings: of the task: "until", "max_gen_toks", "do_sample", "temperature".
        """
        stops = settings.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        new = int(settings.get("max_gen_toks", NEW))
        block = max(1, min(BLOCK, new, self.model.length // 2))
        temperature = float(settings.get("temperature", 1.0)) if settings.get("do_sample") else 0.0
        if self.causal:
            written = Generation(
                plan="first-hitting", order="left", temperature=temperature, block_length=block
            )
        else:
            order: Any = "random" if temperature else "confidence"
            written = Generation(steps=new, order=order, temperature=temperature, block_length=block)
        room = self.model.length - block
        prompts = [self._encoded(context)[-room:] for context in contexts]
        out = generate(
            self.model,
            prompts,
            new=new,
            settings=written.model_copy(update={"chunk": self.chunk}),
            seed=self.seed,
        )
        return [_before(self.model.tokenizer.decode(text.ids), stops) for text in out]

    def _encoded(self, text: str) -> list[int]:
        tokenizer = self.model.tokenizer
        return tokenizer.encode(tokenizer.normalised(text))

    def _parts(self, pairs: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(pairs), self.chunk):
            yield pairs[start : start + self.chunk]

    def _rows(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Tensor, Tensor]:
        """Tokens, padded at the end, and which of them are scored, both (B, L)."""
        longest = max(len(given) + len(own) for given, own in pairs)
        tokens = torch.full((len(pairs), longest), self.model.tokenizer.pad_id)
        where = torch.zeros_like(tokens, dtype=torch.bool)
        for row, (given, own) in enumerate(pairs):
            whole = [*given, *own]
            tokens[row, : len(whole)] = torch.tensor(whole)
            where[row, len(given) : len(whole)] = True
        return tokens.to(self.model.device), where.to(self.model.device)


def harness_model(model: TextModel, *, draws: int = 16, seed: int = 0, chunk: int = 32) -> Any:
    """The model as an `lm_eval.api.model.LM`, for `lm_eval.simple_evaluate(model=...)`.

    Args:
        draws, seed, chunk: of `Scorer`.

    Raises:
        MissingExtra: `lm-eval` is not installed.
        ConfigError: the model is of another kind.
    """
    scorer = Scorer(model, draws=draws, seed=seed, chunk=chunk)
    parent: Any = require("lm_eval.api.model", extra="lm-eval").LM

    class HarnessModel(parent):
        """Requests of the harness, answered by a `Scorer`."""

        @property
        def tokenizer_name(self) -> str:
            return f"suffuse-{model.tokenizer.fingerprint[:16]}"

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            pairs = [scorer.split(*request.args) for request in requests]
            out = list(zip(scorer.log_probs(pairs), scorer.greedy(pairs), strict=True))
            return self._noted("loglikelihood", requests, out)

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            out = [scorer.rolling(request.args[0]) for request in requests]
            return self._noted("loglikelihood_rolling", requests, out)

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            out = [""] * len(requests)
            groups: dict[str, list[int]] = {}
            for number, request in enumerate(requests):
                groups.setdefault(repr(request.args[1]), []).append(number)
            for numbers in groups.values():
                contexts = [requests[number].args[0] for number in numbers]
                texts = scorer.until(contexts, requests[numbers[0]].args[1])
                for number, text in zip(numbers, texts, strict=True):
                    out[number] = text
            return self._noted("generate_until", requests, out)

        def _noted(self, what: str, requests: Sequence[Any], out: list[Any]) -> list[Any]:
            """Tell the harness's cache, where one is used."""
            for request, answer in zip(requests, out, strict=True):
                self.cache_hook.add_partial(what, request.args, answer)
            return out

    return HarnessModel()


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stop strings."""
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(ends)] if ends else text
