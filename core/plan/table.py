"""Plans: samplers written as tables of numbers.

One row is one call of the denoiser and one update of the state from time t to time s:

    x  <-  keep x + sum_j pull[j] h_{i-j} + fresh xi,     xi ~ N(0, I),

where h is the denoiser's output D, or, when `frame = (P, Q)` is given, the derivative h = P x + Q D that a
multistep or Runge-Kutta rule integrates; h_{i-j} are the latest values, newest first. Coefficients are
float64 Python numbers.

Other kinds of row exist, each for what a fixed linear row cannot say: `LangevinRow`, whose step depends
on the norm of the score, and `TokenRow` or `RedrawRow`, for discrete states. `JointRow` holds one row per
part of a product state; beside a Langevin row, the linear rows of the others read one value of h.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from core.errors import ConfigError

__all__ = ["ORDERS", "AnyRow", "JointRow", "LangevinRow", "Plan", "RedrawRow", "Row", "TokenRow", "adaptive"]


class Row(NamedTuple):
    """One linear update; the module docstring has the formula."""

    t: float
    s: float
    keep: float
    pull: tuple[float, ...]
    fresh: float = 0.0
    frame: tuple[float, float] | None = None


class JointRow(NamedTuple):
    """One update of a product state: a row per part, all from t to s, fed by one call of the denoiser."""

    t: float
    s: float
    parts: Mapping[str, Any]


class LangevinRow(NamedTuple):
    """One corrector step at time t, and a linear step to s that reads the same score g:

        y  =  x + h g + temper sqrt(2 h) z,     h = 2 scale (snr |z| / |g|)^2,     z ~ N(0, I)
        x  <- keep y + push g + fresh xi,       xi ~ N(0, I)

    Norms are averaged over the batch (as published), or taken per sample when not `pooled`. The defaults of
    the second line change nothing: a plain corrector, with s = t.
    """

    t: float
    s: float
    alpha: float
    sigma: float
    snr: float
    scale: float
    pooled: bool = True
    temper: float = 1.0
    keep: float = 1.0
    push: float = 0.0
    fresh: float = 0.0


ORDERS = ("each", "random", "left", "right", "confidence", "margin", "entropy")


class TokenRow(NamedTuple):
    """One update of masked tokens.

    Which masks are revealed is decided first, and the token of each is then drawn from the posterior:

        each         every mask, independently, with probability `reveal`
        random, left, right, confidence, margin, entropy
                     that share of the masks, at least one: at random, the first, the last, those of the most
                     probable token, of the largest lead of the first token over the second, of the least
                     entropy. With a `threshold`, all masks whose best token is more probable than it instead,
                     and at least one.

    Each token that was there before is masked again with probability `remask`: the same for all, or, with
    `weigh`, `remask` times the softmax of minus the probability that the token had when it was drawn.

    `draw` is "float64", or "float32" to repeat the truncated Gumbel noise of published samplers.
    """

    t: float
    s: float
    reveal: float
    remask: float
    mask_token: int
    order: str = "each"
    threshold: float = 0.0
    weigh: bool = False
    draw: str = "float64"


class RedrawRow(NamedTuple):
    """One step of the uniform process of tokens: all are drawn anew from q(x_s given x_t, p).

    `form` names the law of the step; see `core.process.token_noise`.
    """

    t: float
    s: float
    alpha_t: float
    alpha_s: float
    form: str = "plug-in"


AnyRow: TypeAlias = Row | JointRow | LangevinRow | TokenRow | RedrawRow
KINDS = {"joint": JointRow, "langevin": LangevinRow, "token": TokenRow, "redraw": RedrawRow}


@dataclass(frozen=True)
class Plan:
    """An immutable table of rows, and the name of the rule that made it."""

    name: str
    rows: tuple[AnyRow, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise ConfigError("a plan needs at least one step, got none.", hint="Give at least two times.")

    @property
    def evaluations(self) -> int:
        """Calls of the denoiser."""
        return len(self.rows)

    @property
    def start(self) -> float:
        """Time of the state that the plan begins with."""
        return self.rows[0].t

    @property
    def end(self) -> float:
        """Time of the state that the plan ends with."""
        return self.rows[-1].s

    @property
    def order(self) -> int:
        """Longest history that any row reads."""
        return max((len(row.pull) for row in flat(self.rows)), default=1)

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return any(not isinstance(row, (Row, JointRow)) or adaptive(row) for row in self.rows) or any(
            row.fresh != 0 for row in flat(self.rows)
        )

    def quiet(self) -> "Plan":
        """The same plan with the mean of its last step for a result: that step draws no fresh noise."""
        last = self.rows[-1]
        if isinstance(last, JointRow):
            last = last._replace(parts={k: part._replace(fresh=0.0) for k, part in last.parts.items()})
        elif isinstance(last, (Row, LangevinRow)):
            last = last._replace(fresh=0.0)
        return Plan(self.name, (*self.rows[:-1], last))

    def to_json(self) -> str:
        """The plan as JSON; `from_json` gives back an equal plan, to the last bit."""
        return json.dumps({"name": self.name, "rows": [pack(row) for row in self.rows]})

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is not a plan.
        """
        try:
            found = json.loads(text)
            return Plan(found["name"], tuple(unpack(row) for row in found["rows"]))
        except (json.JSONDecodeError, KeyError, TypeError) as err:
            raise ConfigError(
                f"expected a plan as JSON, got {text[:40]!r}.", hint="Write one with to_json."
            ) from err

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.evaluations} evaluations, t = {self.start:.4g} to {self.end:.4g}"]
        for index, row in enumerate(self.rows):
            parts = row.parts.items() if isinstance(row, JointRow) else [("", row)]
            lines += [f"{index:4d}  {name:8s}{text(part)}" for name, part in parts]
        return "\n".join(lines)


def adaptive(row: AnyRow) -> bool:
    """Whether a row is a Langevin row, or holds one."""
    if isinstance(row, JointRow):
        return any(isinstance(part, LangevinRow) for part in row.parts.values())
    return isinstance(row, LangevinRow)


def flat(rows: Sequence[AnyRow]) -> list[Row]:
    """The linear rows of a plan, those inside joint rows included."""
    out: list[Row] = []
    for row in rows:
        if isinstance(row, JointRow):
            out += [part for part in row.parts.values() if isinstance(part, Row)]
        elif isinstance(row, Row):
            out.append(row)
    return out


def text(row: Any) -> str:
    if not isinstance(row, Row):
        return repr(row)
    pull = " ".join(f"{b:+.6f}" for b in row.pull)
    frame = f"  frame {row.frame[0]:+.4g} {row.frame[1]:+.4g}" if row.frame else ""
    return (
        f"t {row.t:<10.5g} s {row.s:<10.5g} keep {row.keep:+.6f}  pull {pull}  fresh {row.fresh:.6f}{frame}"
    )


def pack(row: AnyRow) -> dict[str, Any]:
    if isinstance(row, JointRow):
        return {"kind": "joint", "t": row.t, "s": row.s, "parts": {k: pack(v) for k, v in row.parts.items()}}
    kind = next((name for name, cls in KINDS.items() if isinstance(row, cls)), "linear")
    return {"kind": kind, **row._asdict()}


def unpack(found: Mapping[str, Any]) -> Any:
    values = {key: value for key, value in found.items() if key != "kind"}
    if found["kind"] == "joint":
        return JointRow(values["t"], values["s"], {k: unpack(v) for k, v in values["parts"].items()})
    if found["kind"] != "linear":
        return KINDS[found["kind"]](**values)
    frame = values["frame"]
    return Row(**{**values, "pull": tuple(values["pull"]), "frame": tuple(frame) if frame else None})
