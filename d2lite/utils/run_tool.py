"""run_tool: how a command-line tool ends."""

import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import RunInterrupted, UserError
from .failure_log import log_failure
from .interrupts import INTERRUPTED, handle_interrupts
from .logger import log_file_path
from .streams import guard_streams, report_failed_output


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool and leave the program.

    A mistake that the user can fix is shown as its message alone, its trace goes to the log
    file if one is open, and the exit status is 2, as argparse has it. Any other exception is a
    fault of ours and keeps its trace on the console.

    Args:
        main: the tool; returns the exit status, None for 0.

    Raises:
        SystemExit: always, unless an exception other than a `UserError` passes through.
    """
    guard_streams()
    handle_interrupts("Interrupted.\n")
    try:
        status = main()
    except UserError as error:
        log_failure(error, "The run ended with a mistake that you can fix")
        sys.stderr.write(f"error: {error}\n")
        status = 2
    except RunInterrupted as interruption:
        if not interruption.is_shown:
            sys.stderr.write(f"{interruption}\n")
        status = interruption.status
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        status = INTERRUPTED
    except Exception as error:
        log_failure(error, "The run ended with an unexpected error")
        raise
    raise SystemExit(report_failed_output(status or 0, log_file=log_file_path()))
