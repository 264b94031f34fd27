"""Run a script written for detectron2, unchanged.

    d2lite run train.py --config-file x.yaml
    d2lite run -m my_package.train --num-gpus 2

Inside, `import detectron2.X` gives the module `d2lite.X`: one module object under both names, so
that registries, `isinstance` and pickled class paths agree. Nothing is installed, and a detectron2
that is installed is left alone.
"""

import argparse
import runpy
import sys

from d2lite.utils.arguments import WordsParser


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite run`."""
    return WordsParser(
        description=__doc__,
        usage="%(prog)s SCRIPT.py [ARGS...] | -m MODULE [ARGS...]",
    )


def main(args: argparse.Namespace) -> None:
    """Run it as `python -m d2lite.run` does, which processes that it starts later rely on."""
    sys.argv = [sys.argv[0], *args.words]
    runpy.run_module("d2lite.run", run_name="__main__", alter_sys=True)
