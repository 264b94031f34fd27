"""Measure the speed of the data loader.

    d2lite benchmark --task data --config-file quick_start.yaml
    d2lite benchmark --workers 0 4 --config-file R50_3x.yaml DATASETS.TRAIN "('auto:mine',)"

It shows where the time goes, and the speed of a plain pipeline beside it: a torch Dataset of
torchvision's transforms that decodes, resizes to the same sizes, and flips images, boxes and (as
bitmaps) masks. Both are measured in turns in one run, since
machines differ, and ratios less. Timings depend on what else the machine does.
"""

import argparse

from d2lite.utils.arguments import HelpFormatter, add_config_arguments, add_config_options


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite benchmark`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--task", choices=["data"], default="data", help="what to measure")
    add_config_arguments(parser)
    parser.add_argument(
        "--images", type=int, default=100, help="images a measurement (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 2], help="loader processes (0 2)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="measurements (%(default)s)")
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    from .actions.benchmark import benchmark

    benchmark(args)
