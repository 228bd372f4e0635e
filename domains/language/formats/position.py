"""Where in a text something is, as people count: lines and columns from 1."""

__all__ = ["advanced", "place"]


def place(text: str, index: int, *, line: int = 1, column: int = 1) -> str:
    """Say where character `index` of a text is, as "line 3, column 7".

    Args:
        line: of the first character of the text, from 1.
        column: likewise.
    """
    at_line, at_column = advanced(text[:index], line=line, column=column)
    return f"line {at_line}, column {at_column}"


def advanced(text: str, *, line: int, column: int) -> tuple[int, int]:
    """Line and column right after a text that starts at the given ones."""
    breaks = text.count("\n")
    return (line + breaks, len(text) - text.rfind("\n")) if breaks else (line, column + len(text))
