"""run_tool: how a command-line tool ends, with a result, a user's mistake, or our own."""

import sys
from collections.abc import Callable
from typing import NoReturn

from d2lite.engine.failure_log import log_failure
from d2lite.utils.errors import UserError

__all__ = ["run_tool"]

# What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
_INTERRUPTED = 130


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool and leave the program.

    A mistake that the user can mend is shown as its message alone, its trace goes to the log
    file if one is open, and the exit status is 2, as argparse has it. Any other exception is a
    fault of ours and keeps its trace on the console.

    Args:
        main: the tool; returns the exit status, None for 0.

    Raises:
        SystemExit: always, unless an exception that is no `UserError` passes through.
    """
    try:
        status = main()
    except UserError as error:
        log_failure(error, "The run ended with a mistake that you can mend")
        sys.stderr.write(f"error: {error}\n")
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        status = _INTERRUPTED
    except Exception as error:
        log_failure(error, "The run ended with an unexpected error")
        raise
    raise SystemExit(status or 0)
