"""Logging for people: a console that stays readable, a log file that holds everything."""

import errno
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from d2lite.utils.errors import OutputError
from d2lite.utils.live_line import live_line, on_terminal

from .repeated_logs import log_every_n, log_every_n_seconds, log_first_n
from .streams import visible

__all__ = [
    "append_to_log_file",
    "create_small_table",
    "log_every_n",
    "log_every_n_seconds",
    "log_file_path",
    "log_first_n",
    "setup_logger",
]

_RESET = "\x1b[0m"
_TIME_COLOR = "\x1b[32m"
_LEVEL_COLORS = {
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}


class _Formatter(logging.Formatter):
    """`[11/21 07:53:12 d2lite.engine]: text`, with the level named from WARNING on."""

    # One table for all formatters, since loggers of several names share one file handler.
    short_names: ClassVar[dict[str, str]] = {}

    def __init__(self, *, use_color: bool) -> None:
        super().__init__(datefmt="%m/%d %H:%M:%S")
        self._use_color = use_color

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        root, dot, rest = record.name.partition(".")
        name = self.short_names.get(root, root) + dot + rest
        stamp = f"[{self.formatTime(record, self.datefmt)} {name}]:"
        level = record.levelname if record.levelno >= logging.WARNING else ""
        if self._use_color:
            stamp = f"{_TIME_COLOR}{stamp}{_RESET}"
            color = _LEVEL_COLORS.get(record.levelno, "")
            level = f"{color}{level}{_RESET}" if color else level
        return " ".join(part for part in (stamp, level, visible(record.message)) if part)


class _ConsoleHandler(logging.Handler):
    """Writes to whatever sys.stdout is at the moment, above the live line."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "hidden_on_console", False) or sys.stdout is None:
            return
        try:
            live_line.print_above(self.format(record), sys.stdout)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A console that is full or closed costs its lines and not the run."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """A log file, possibly shared by loggers of several names."""

    def __init__(self, path: Path) -> None:
        # File names that are not UTF-8 must not cost a line.
        super().__init__(path, mode="a", encoding="utf-8", errors="backslashreplace")
        self.path = path
        self.setFormatter(_Formatter(use_color=False))
        self._is_failing = False

    def append(self, text: str) -> None:
        """Write text as it is, if the file is open."""
        self.acquire()
        try:
            if self.stream is not None:
                self.stream.write(text)
                self.flush()
        except OSError as err:
            self._tell(err)
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A full disk costs lines of the log and not the run, nor a trace for each line."""
        err = sys.exc_info()[1]
        if isinstance(err, OSError):
            self._tell(err)
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as err:
            self._tell(err)

    def _tell(self, err: OSError) -> None:
        if not self._is_failing:
            live_line.print_above(
                f"{self.path} cannot be written ({err.strerror or err}): lines are missing there.",
                sys.stderr,
            )
        self._is_failing = True


_log_files: dict[Path, _LogFile] = {}
_current_log_file: Path | None = None


def setup_logger(
    output: str | os.PathLike[str] | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "d2lite",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Send the messages of a logger to the console (main process alone) and to a file.

    Calling it again is safe: the console is never attached twice, and another `output` takes the
    place of the one before.

    Args:
        output: a file, if it ends in .txt or .log, else a folder that gets a `log.txt`. Other
            processes than the main one add `.rank<N>` to the name. None: no file.
        distributed_rank: rank of this process among all.
        color: colour the console where it is a terminal (and NO_COLOR is not set).
        name: name of the logger.
        abbrev_name: what to print in place of `name`.
        enable_propagation: also hand messages to the root logger.
        configure_stdout: attach the console.

    Returns:
        The logger.

    Raises:
        OutputError: if the log file cannot be opened.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    _Formatter.short_names[logger.name] = abbrev_name or name

    has_console = any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers)
    if configure_stdout and distributed_rank == 0 and not has_console:
        console = _ConsoleHandler(logging.DEBUG)
        use_color = color and on_terminal() and not os.environ.get("NO_COLOR")
        console.setFormatter(_Formatter(use_color=use_color))
        logger.addHandler(console)
    if output is not None:
        _attach_log_file(logger, _log_file_name(Path(output), distributed_rank))
    return logger


def _log_file_name(output: Path, rank: int) -> Path:
    path = output if output.suffix in (".txt", ".log") else output / "log.txt"
    path = path.with_name(f"{path.name}.rank{rank}") if rank > 0 else path
    return path.absolute()


def _attach_log_file(logger: logging.Logger, path: Path) -> None:
    global _current_log_file
    if path not in _log_files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_fifo():  # to open it would wait for a reader, deaf to SIGTERM
                raise OSError(errno.EINVAL, "it is a named pipe and not a file")
            _log_files[path] = _LogFile(path)
        except OSError as err:
            raise OutputError(
                f"Cannot write the log to {path}: {err.strerror}. "
                "Choose another folder with OUTPUT_DIR, or free this one."
            ) from err
    for handler in list(logger.handlers):
        if isinstance(handler, _LogFile) and handler.path != path:
            logger.removeHandler(handler)
            _close_if_unused(handler)
    if _log_files[path] not in logger.handlers:
        logger.addHandler(_log_files[path])
    _current_log_file = path


def _close_if_unused(log_file: _LogFile) -> None:
    loggers = logging.Logger.manager.loggerDict.values()
    if not any(log_file in getattr(logger, "handlers", ()) for logger in loggers):
        log_file.close()
        del _log_files[log_file.path]


def log_file_path() -> Path | None:
    """The file that this process logs to; None before `setup_logger` was given an output."""
    return _current_log_file


def append_to_log_file(text: str) -> None:
    """Add text, such as a trace that is not for the console, to the log file if one is open."""
    log_file = _log_files.get(_current_log_file) if _current_log_file else None
    if log_file is not None:
        log_file.append(text.rstrip("\n") + "\n")


def _log_api_usage(identifier: str) -> None:
    """Count the use of a part of the library in torch's own statistics, where they are kept."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch._C._log_api_usage_once(f"d2lite.{identifier}")


def create_small_table(small_dict: Mapping[str, object]) -> str:
    """Lay out a few named numbers as a table of one row, for a log.

    Args:
        small_dict: names and values; floats are shown with three decimals.

    Returns:
        Three lines: names, a rule, values; empty text for an empty mapping.
    """
    values = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in small_dict.values()]
    widths = [max(len(k), len(v), 3) for k, v in zip(small_dict, values, strict=True)]
    rows = (
        [k.center(w) for k, w in zip(small_dict, widths, strict=True)],
        [":" + "-" * (w - 2) + ":" for w in widths],
        [v.center(w) for v, w in zip(values, widths, strict=True)],
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) if small_dict else ""
