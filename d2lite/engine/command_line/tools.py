"""How a training tool starts its processes."""

import argparse
from collections.abc import Callable

from d2lite.engine.launch import launch
from d2lite.engine.launching.environment import was_restarted


def launch_tool(
    main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser
) -> None:
    """Read the command line of a training tool and run it in the processes that it asks for.

    Args:
        main: what each process does; it gets the arguments.
        parser: as `default_argument_parser` makes it.
    """
    launch_processes(main, parser.parse_args())


def launch_processes(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Start the processes that the options ask for.

    Args:
        main: what each of them does; a function of a module, so that it can be sent to them.
        args: the options, which each gets. After a restart by torchrun, a training goes on from
            the newest checkpoint, whatever they say.
    """
    if was_restarted() and hasattr(args, "resume") and not args.eval_only:
        args.resume = True
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
