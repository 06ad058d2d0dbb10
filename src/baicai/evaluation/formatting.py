"""Names, texts and numbers as tables, plots and pages show them."""

from rich.cells import cell_len

NO_VALUE = "–"


def printable(text: str) -> str:
    """Make a name safe for one line: characters that move the cursor or reverse the text become `?`."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shortened(text: str, width: int) -> str:
    """Shorten a name to at most `width` terminal columns by replacing its middle with an ellipsis."""
    result, length = text, min(len(text), width)
    while cell_len(result) > width:
        length -= 1
        result = f"{text[: (length + 1) // 2]}…{text[len(text) - length // 2 :]}"
    return result


def percent(change: float | None) -> str:
    """Format a change in percent, such as `-10.7 %`."""
    return NO_VALUE if change is None else f"{round(change, 1):+.1f} %" if abs(change) >= 0.05 else "0.0 %"


def multiline(text: str) -> str:
    """Replace control characters other than tabs and newlines, which HTML does not allow."""
    return "".join(c if c in "\n\t" or (c >= " " and c != "\x7f") else "\ufffd" for c in text)
