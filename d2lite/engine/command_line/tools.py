"""launch_tool: how a training tool starts its processes."""

import argparse
from collections.abc import Callable

from d2lite.engine.launch import launch


def launch_tool(
    main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser
) -> None:
    """Read the command line of a training tool and run it in the processes that it asks for.

    Args:
        main: what each process does; it gets the arguments.
        parser: as `default_argument_parser` makes it.
    """
    args = parser.parse_args()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
