"""guard_streams: standard output and standard error that a program can always write to."""

import io
import os
import re
import sys
from typing import Any

# Not tab, line feed and carriage return, nor what colours text or draws a line of progress again.
_CONTROLS = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[\d;]{0,20}[mKA])")


def visible(text: str) -> str:
    """A text with escapes for characters that command a terminal, as names of files may have them.

    Colours stay, and what draws a line again.
    """
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Terminal(io.TextIOWrapper):
    """A stream to a terminal, which none of our texts commands; scripts of `d2lite run` may."""

    def write(self, text: str, /) -> int:
        super().write(text if "D2LITE_RUN" in os.environ else visible(text))
        return len(text)


class _LenientFile(io.FileIO):
    """A file descriptor whose failing writes are noted and count as done."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except BlockingIOError:
                raise
            except OSError as error:
                self.error = error
        return len(data)


def guard_streams() -> None:
    """Let this program go on when its output is closed, full, or a pipe that has ended.

    Descriptors that are closed are opened to nowhere, so that no file of ours gets their number.
    Characters that the encoding of the terminal lacks, or that command it, are written as escapes.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one, or one below that was closed as well.
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        stream = getattr(sys, name)
        if stream is None:
            # Not the descriptor, which a file may have got since the program began.
            setattr(sys, name, _nowhere(mode))
        elif mode == "w" and stream is getattr(sys, f"__{name}__"):
            # A stream that somebody has put there, such as a test's, is left alone.
            setattr(sys, name, _lenient(number, stream))


def _nowhere(mode: str) -> Any:
    return open(os.devnull, mode, encoding="utf-8", errors="backslashreplace")


def _lenient(number: int, stream: Any) -> io.TextIOWrapper:
    lenient = _LenientFile(number, "w", closefd=False)
    try:
        stream.flush()
    except OSError as error:
        lenient.error = error
    is_direct = number == 2 or stream.isatty()
    return (_Terminal if stream.isatty() else io.TextIOWrapper)(
        io.BufferedWriter(lenient),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=is_direct,
    )


def report_failed_output(status: int, *, log_file: object = None) -> int:
    """Say on standard error that standard output could not be written since `guard_streams`.

    A pipe whose reader has seen enough is not a failure.

    Args:
        status: the exit status of the program otherwise.
        log_file: where the same lines are; None if what is lost was the result.

    Returns:
        The exit status: 2 instead of 0 where a result is lost.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _LenientFile):
        return status
    sys.stdout.flush()
    if raw.error is None or isinstance(raw.error, BrokenPipeError):
        return status
    reason = raw.error.strerror or raw.error
    if log_file is not None:
        sys.stderr.write(f"Lines are missing on standard output ({reason}); see {log_file}\n")
        return status
    sys.stderr.write(
        f"error: Standard output cannot be written ({reason}), so lines are missing there. Send it "
        "to another place.\n"
    )
    return status or 2
