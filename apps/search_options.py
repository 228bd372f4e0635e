"""The options of noise search, the same in every command that samples.

    --search random|zero-order|paths --verifier NAME[,NAME] --budget N [--second NAME]
    --search 8          short for the best of 8 independent runs

A domain brings its verifiers by name; `chosen` turns the options into settings, or into None where no search
was asked for.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

__all__ = [
    "RUNS",
    "Budget",
    "SearchMethod",
    "Second",
    "VerifierNames",
    "chosen",
    "method_of",
    "refuse_without_search",
]

RUNS = 16  # that a search may take where no budget is given

SearchMethod = Annotated[
    str | None,
    typer.Option(
        "--search",
        help="random, zero-order or paths: spend evaluations on choosing the noise; 8: the best of 8 runs.",
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


def method_of(text: str, budget: int | None = None) -> tuple[str, int]:
    """The method that `--search` names, and the runs that it may take.

    Raises:
        ConfigError: fewer than one run, or a number of runs beside a budget.
    """
    from core.errors import ConfigError

    try:
        runs = int(text)
    except ValueError:
        return text, RUNS
    if runs < 1:
        raise ConfigError(
            f"a search takes 1 run or more, got {runs}.", hint="Ask for some, as in --search 8."
        )
    if budget is not None:
        raise ConfigError("a number of runs and a budget were both given.", hint="Leave out --budget.")
    return "random", runs


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
        refuse_without_search({"--verifier": verifier, "--budget": budget})
        return None
    name, runs = method_of(method, budget)
    if verifier is None:
        raise ConfigError("a search needs to know what to look for.", hint="Add --verifier NAME.")
    return Search(name, runs * steps if budget is None else budget)  # type: ignore[arg-type]  # checked there


def refuse_without_search(options: Mapping[str, Any]) -> None:
    """Refuse options of a search where none was asked for.

    Raises:
        ConfigError: one was given; it is named.
    """
    from core.errors import ConfigError

    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name} was given without a search.", hint="Add --search random.")
