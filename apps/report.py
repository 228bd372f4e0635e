"""One self-contained HTML page from pictures, numbers and words.

The page needs no network and no script: styles are inline, pictures are embedded as base64 PNG, fonts are the
system's. It reads in light and dark, on a phone and on paper. Every number sits beside its yardstick: rows
marked as baseline or ceiling, and an arrow that says whether a result is better or worse than the baseline.

    page = Page("Dehazing", "What it is.", sections=(Section(...),), footer=run_footer(run.record))
    run.write("index.html", render(page))
"""

import base64
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import hypot, isfinite
from pathlib import Path
from typing import Any, Literal

from apps.report_style import STYLE
from core.errors import DataError, NumericalError

__all__ = ["Column", "Number", "Page", "Picture", "Row", "Section", "Table", "render", "run_footer"]


@dataclass(frozen=True)
class Number:
    """A measured value with its standard error, when there is one."""

    value: float
    error: float | None = None


@dataclass(frozen=True)
class Column:
    """One column of numbers: its name, its unit, which direction is good, and the decimals shown."""

    name: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    decimals: int = 2


@dataclass(frozen=True)
class Row:
    """One row: what was measured, and a cell for each column; None shows a dash, text shows as it is.

    A "baseline" is what results are compared with (the first, when there are several), a "ceiling" is what no
    result can pass.
    """

    label: str
    cells: tuple[Number | float | str | None, ...]
    role: Literal["result", "baseline", "ceiling"] = "result"


@dataclass(frozen=True)
class Table:
    """Numbers with their yardsticks. `first` heads the column of labels; `note` stands below."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    first: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption, and the words that stand in for it where it cannot be seen."""

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph of explanation, pictures, tables, and the command that made them.

    Blank lines in `text` separate paragraphs; words in backticks are set as code. Each line of `command` is a
    command of its own.
    """

    title: str
    text: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Page:
    """A title, a lede of one or two sentences, sections, and footer lines."""

    title: str
    lede: str
    sections: tuple[Section, ...]
    footer: tuple[str, ...] = ()


def run_footer(record: Mapping[str, Any], *, disclaimer: str = "Not for diagnosis.") -> tuple[str, ...]:
    """Footer lines from what `run.json` holds: the disclaimer, how the run was made, and the versions."""
    revision = str(record.get("git_revision") or "")[:10]
    changed = " with local changes" if record.get("git_changed") else ""
    made = [
        f"suffuse {record.get('suffuse') or 'from a checkout'}"
        + (f" ({revision}{changed})" if revision else "")
    ]
    if record.get("seed") is not None:
        made.append(f"seed {record['seed']}")
    made += [str(record[key]) for key in ("device", "started") if record.get(key)]
    if record.get("wall_s"):
        made.append(f"{record['wall_s']:.0f} s wall, {record['cpu_s']:.0f} s processor")
    versions = [f"Python {record['python']}"] if record.get("python") else []
    versions += [f"{name} {version}" for name, version in record.get("versions", {}).items()]
    words = shlex.join(str(word) for word in record.get("command_line", ()))
    lines = [disclaimer, ", ".join(made) + ".", f"`{words}`" if words else "", ", ".join(versions)]
    return tuple(line for line in lines if line)


def render(page: Page) -> str:
    """Make the text of the HTML page.

    Raises:
        DataError: a picture is absent or not a PNG.
        NumericalError: a number is NaN or infinite.
        ValueError: a row has another number of cells than its table has columns.
    """
    slugs = _slugs([section.title for section in page.sections])
    contents = "".join(
        f'<li><a href="#{slug}">{escape(section.title)}</a></li>'
        for slug, section in zip(slugs, page.sections, strict=True)
    )
    sections = "\n".join(_section(section, slug) for slug, section in zip(slugs, page.sections, strict=True))
    footer = "".join(f"<p>{_inline(line)}</p>" for line in page.footer)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(page.title)}</h1>
<div class="lede">{_paragraphs(page.lede)}</div>
{f'<nav aria-label="Contents"><ol>{contents}</ol></nav>' if len(page.sections) > 2 else ""}
</header>
<main>
{sections}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


def _section(section: Section, slug: str) -> str:
    parts = [f'<section id="{slug}">', f"<h2>{escape(section.title)}</h2>", _paragraphs(section.text)]
    if section.pictures:
        few = " single" if len(section.pictures) == 1 else ""
        parts.append(f'<div class="pictures{few}">{"".join(_picture(p) for p in section.pictures)}</div>')
    parts += [_table(table) for table in section.tables]
    if section.command:
        lines = "".join(f"<code>{escape(line)}</code>" for line in section.command.splitlines())
        parts.append(f'<pre class="command">{lines}</pre>')
    return "\n".join([*parts, "</section>"])


def _picture(picture: Picture) -> str:
    """The figure element of one embedded PNG."""
    try:
        data = picture.path.read_bytes()
    except OSError as err:
        raise DataError(f"cannot read the picture {picture.path}: {err.strerror or err}.") from err
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise DataError(f"{picture.path} is not a PNG picture.", hint="Save figures with RunFolder.figure.")
    width, height = (
        int.from_bytes(data[at : at + 4], "big") for at in (16, 20)
    )  # the IHDR chunk comes first
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    wide = ' class="wide"' if width >= 1.8 * height else ""
    return (
        f'<figure{wide}><img src="{source}" alt="{escape(picture.alt)}" width="{width}" height="{height}">'
        f"<figcaption>{_inline(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    """The table element, with the legend of what it marks."""
    for row in table.rows:
        if len(row.cells) != len(table.columns):
            raise ValueError(f"row '{row.label}' has {len(row.cells)} cells for {len(table.columns)} columns")
    baseline = next((row for row in table.rows if row.role == "baseline"), None)
    head = "".join(f'<th scope="col">{_heading(column)}</th>' for column in table.columns)
    body = "".join(_row(row, table.columns, baseline) for row in table.rows)
    compared = baseline is not None and any(column.better for column in table.columns)
    legend = []
    if compared and baseline is not None:
        legend.append(
            f'<span class="better">▲</span> better and <span class="worse">▼</span> worse than '
            f"“{escape(baseline.label)}”; = within two standard errors of it, or equal."
        )
    if table.note:
        legend.append(_inline(table.note))
    note = f'<p class="note">{" ".join(legend)}</p>' if legend else ""
    return (
        f'<div class="table"><table><thead><tr><th scope="col">{escape(table.first)}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _heading(column: Column) -> str:
    unit = f' <span class="unit">{escape(column.unit)}</span>' if column.unit else ""
    way = f'<span class="way">{column.better} is better</span>' if column.better else ""
    return f"{escape(column.name)}{unit}{way}"


def _row(row: Row, columns: tuple[Column, ...], baseline: Row | None) -> str:
    tag = "" if row.role == "result" else f' <span class="tag">{row.role}</span>'
    cells = []
    for index, column in enumerate(columns):
        cell = _number(row.cells[index])
        yard = _number(baseline.cells[index]) if baseline is not None else None
        mark = ""
        if column.better and isinstance(yard, Number):
            mark = ' <span class="same"></span>'
            if row.role == "result" and isinstance(cell, Number):
                mark = _mark(cell, yard, column.better)
        cells.append(f"<td>{_cell(cell, column, row.label)}{mark}</td>")
    return f'<tr class="{row.role}"><th scope="row">{escape(row.label)}{tag}</th>{"".join(cells)}</tr>'


def _number(cell: Number | float | str | None) -> Number | str | None:
    return Number(float(cell)) if isinstance(cell, int | float) else cell


def _cell(cell: Number | str | None, column: Column, label: str) -> str:
    if cell is None:
        return '<span class="none">–</span>'
    if isinstance(cell, str):
        return escape(cell)
    if not isfinite(cell.value) or (cell.error is not None and not isfinite(cell.error)):
        raise NumericalError(f"'{label}', column '{column.name}' is not a finite number.")
    text = f"{cell.value:.{column.decimals}f}".replace("-", "−")
    if cell.error is not None:
        text += f' <span class="error">± {cell.error:.{column.decimals}f}</span>'
    return text


def _mark(cell: Number, yard: Number, better: Literal["higher", "lower"]) -> str:
    """Arrow of a result against the baseline; differences within two standard errors count as none."""
    gain = cell.value - yard.value if better == "higher" else yard.value - cell.value
    if abs(gain) <= 2 * hypot(cell.error or 0.0, yard.error or 0.0):
        return ' <span class="same" title="no difference">=</span>'
    if gain > 0:
        return ' <span class="better" title="better than the baseline">▲</span>'
    return ' <span class="worse" title="worse than the baseline">▼</span>'


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{_inline(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _inline(text: str) -> str:
    """Escape text; words in backticks become code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _slugs(titles: list[str]) -> list[str]:
    """Anchor names, unique within the page."""
    return [
        f"{n}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"
        for n, title in enumerate(titles, start=1)
    ]
