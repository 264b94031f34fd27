"""One line at the bottom of a terminal, kept there while ordinary lines scroll by above it."""

import shutil
import sys
from typing import TextIO

_ERASE_LINE = "\r\x1b[K"


def on_terminal() -> bool:
    """Whether somebody may watch standard output; it is None in a program without a console."""
    return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()


def _shown_by(stream: TextIO, text: str) -> str:
    """A text with escapes for letters that a stream cannot write, such as a Windows console."""
    coding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(coding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(coding, "backslashreplace").decode(coding)
    return text


class LiveLine:
    """One line at the bottom of a terminal that is drawn again and again in place."""

    def __init__(self) -> None:
        """Begin with nothing shown."""
        self._text = ""

    def show(self, text: str) -> None:
        """Draw `text`, cut to the width of the terminal, over what was shown before."""
        # The last column stays free: many terminals wrap a line that fills it.
        text = _shown_by(sys.stdout, text)
        self._text = text[: shutil.get_terminal_size().columns - 1]
        self._draw()

    def print_above(self, text: str, stream: TextIO) -> None:
        """Write an ordinary line and keep the live one below it."""
        stream.write(f"{_ERASE_LINE if self._text else ''}{_shown_by(stream, text)}\n")
        self._draw()
        stream.flush()

    def finish(self) -> None:
        """Leave what is shown and go on in the next line."""
        if self._text:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._text = ""

    def _draw(self) -> None:
        if self._text:
            sys.stdout.write(_ERASE_LINE + self._text)
            sys.stdout.flush()


live_line = LiveLine()
