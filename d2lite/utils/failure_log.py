"""log_failure: write an error's traceback into the log file, whatever the console shows."""

import logging
import traceback

from d2lite.utils.errors import UserError
from d2lite.utils.logger import append_to_log_file

logger = logging.getLogger(__name__)


def log_failure(error: BaseException, headline: str) -> None:
    """Write the traceback of an error into the log file, once for each error.

    The console gets one line at most: Python shows the traceback of an exception that leaves the
    program, and `run_tool` shows the message of a user's mistake.

    Args:
        error: the exception; its traceback is read from it.
        headline: what the program was doing, without a full stop.
    """
    if getattr(error, "_is_in_log_file", False):
        return
    if not isinstance(error, UserError):
        logger.error(f"{headline}: {type(error).__name__}: {error}")
    append_to_log_file(f"{headline}:\n{''.join(traceback.format_exception(error))}")
    error._is_in_log_file = True  # type: ignore[attr-defined]
