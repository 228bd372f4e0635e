"""The options of noise search, the same in every command that samples.

    --search random|zero-order|paths --verifier NAME[,NAME] --budget N [--second NAME]

A domain brings its verifiers by name; `chosen` turns the options into settings, or into None where no search
was asked for.
"""

from typing import Annotated, Any

import typer

__all__ = ["Budget", "SearchMethod", "Second", "VerifierNames", "chosen"]

SearchMethod = Annotated[
    str | None,
    typer.Option(
        "--search",
        help="random, zero-order or paths: spend evaluations on choosing the noise.",
        show_default="no search",
    ),
]
VerifierNames = Annotated[
    str | None,
    typer.Option(
        "--verifier",
        help="What is searched for; several by comma, combined by mean rank.",
        show_default=False,
    ),
]
Second = Annotated[
    str | None,
    typer.Option("--second", help="A verifier that is only reported.", show_default="another one"),
]
Budget = Annotated[
    int | None,
    typer.Option(
        help="Evaluations of the network per sample, all candidates together.", show_default="16 runs"
    ),
]


def chosen(method: str | None, verifier: str | None, budget: int | None, *, steps: int) -> Any:
    """Settings of the search, or None.

    Args:
        steps: evaluations of one run; 16 runs are the default budget.

    Raises:
        ConfigError: a verifier or a budget without a search, a search without a verifier, an unknown method.
    """
    from core.errors import ConfigError
    from core.infer.search import Search

    if method is None:
        if verifier is not None or budget is not None:
            given = "--verifier" if verifier is not None else "--budget"
            raise ConfigError(f"{given} was given without a search.", hint="Add --search random.")
        return None
    if verifier is None:
        raise ConfigError("a search needs to know what to look for.", hint="Add --verifier NAME.")
    return Search(method, 16 * steps if budget is None else budget)  # type: ignore[arg-type]  # checked there
