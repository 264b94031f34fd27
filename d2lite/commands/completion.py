"""Print a script that completes words in a shell.

    d2lite completion bash > ~/.local/share/bash-completion/completions/d2lite
    d2lite completion zsh > ~/.zfunc/_d2lite

Commands, options, names of configs and datasets and keys of the configuration are completed. The
names are those of today: print the script again after an update.
"""

import argparse

from d2lite.utils.arguments import CommandParser


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite completion`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="whose script to print")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the script."""
    from .actions.completion import completion_script
    from .program import whole_parser

    print(completion_script(whole_parser(), args.shell))
