"""The arguments of the tools: a config, KEY VALUE pairs, --resume, processes."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .number_arguments import whole_number

_EXAMPLES = """\
examples:
  train:            {program} --config-file configs/quick_start.yaml
  go on:            {program} --config-file configs/quick_start.yaml --resume
  change options:   {program} --config-file R50_3x.yaml MODEL.WEIGHTS w.pth SOLVER.BASE_LR 0.001
  Python config:    {program} --config-file mask_rcnn_R_50_FPN_1x.py optimizer.lr=0.001
  evaluate:         {program} --config-file out/config.yaml --eval-only MODEL.WEIGHTS out/w.pth
  2 GPUs:           {program} --config-file R50_3x.yaml --num-gpus 2
  2 machines:       {program} --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://H:P
"""

# As the first KEY of the options looks, which argparse would take for the file of --resume.
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")
# A KEY among words that may be files, such as PHOTO.JPG.
_SECTION_KEY = re.compile(
    r"(MODEL|MODEL_EMA|INPUT|DATASETS|DATALOADER|SOLVER|TEST|GLOBAL)(\.[A-Z0-9_]+)+"
)
# The same of a Python config: KEY=VALUE, +KEY=VALUE, ~KEY.
_OVERRIDE = re.compile(r"~[\w.\[\]]+|\+{0,2}[\w.\[\]]+=.*", re.DOTALL)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as it is written, with options in lines of 100 characters, so that it fits a screen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=100)


class CommandParser(argparse.ArgumentParser):
    """A parser whose help is that of `HelpFormatter`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **options})


class ToolParser(CommandParser):
    """A parser that takes options after the KEY VALUE pairs, too.

    It knows `--resume KEY VALUE` from `--resume FILE KEY VALUE`.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and give back the key that was taken for a file."""
        parsed, rest = super().parse_known_args(args, namespace)
        words = getattr(parsed, "opts", None) or []
        known = (i for i, word in enumerate(words) if self._is_flag(word))
        first = next(known, None)
        if first is not None:
            parsed, more = ToolParser.parse_known_args(self, words[first:], parsed)
            parsed.opts, rest = [*words[:first], *(parsed.opts or [])], rest + more
        resume = getattr(parsed, "resume", False)
        if not isinstance(resume, str) or Path(resume).exists():
            return parsed, rest
        is_key = _KEY.fullmatch(resume) and len(parsed.opts) % 2 == 1
        if is_key or _OVERRIDE.fullmatch(resume):
            parsed.resume, parsed.opts = True, [resume, *parsed.opts]
        return parsed, rest

    def _is_flag(self, word: str) -> bool:
        return word.startswith("--") and word.partition("=")[0] in self._option_string_actions


class IntermixedParser(CommandParser):
    """A parser that finds words without a flag before, between and after its options.

    KEY VALUE pairs come last, with or without --opts before them.
    """

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse a command line."""
        words = list(sys.argv[1:] if args is None else args)
        first = next((i for i, word in enumerate(words) if _SECTION_KEY.fullmatch(word)), None)
        if first is not None and "--opts" not in words:
            pairs = words[first:]
            flag = next((i for i, word in enumerate(pairs) if word.startswith("--")), len(pairs))
            words = [*words[:first], *pairs[flag:], "--opts", *pairs[:flag]]
        parsed: argparse.Namespace = self.parse_intermixed_args(words, namespace)
        return parsed


class WordsParser(CommandParser):
    """A parser that leaves all words to the program that is run, but for --help in front."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Give all words as `words`."""
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] in (["-h"], ["--help"]):
            self.print_help()
            self.exit()
        if not words:
            self.error("the following arguments are required: SCRIPT.py or -m MODULE")
        return argparse.Namespace(words=words), []


class SubjectParser(ToolParser):
    """A parser with one optional word, wherever it is before the KEY VALUE pairs.

    argparse alone would take the first KEY for that word, or all options after it for the pairs.
    """

    def add_subject(self, name: str, help: str) -> None:
        """Add the word; it is None in `subject` of the parsed options where it is not given.

        Args:
            name: as the help shows it.
            help: what it is.
        """
        self.set_defaults(subject=None)
        self.usage = f"%(prog)s [{name}] [options] [KEY VALUE ...]"
        self._positionals.title = "arguments"
        self._positionals.description = f"{name:<22}{help}"

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and take the first word among the options that is not a key for the subject."""
        parsed, rest = super().parse_known_args(args, namespace)
        if parsed.opts and parsed.subject is None and not _is_option(parsed.opts[0]):
            parsed.subject, *others = parsed.opts
            parsed, more = super().parse_known_args(others, parsed)
            rest += more
        return parsed, rest


def _is_option(word: str) -> bool:
    """Whether a word is the KEY or KEY=VALUE of a config rather than a path."""
    is_key = _KEY.fullmatch(word) is not None and not Path(word).exists()
    return is_key or _OVERRIDE.fullmatch(word) is not None or word == "--"


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a training tool.

    Args:
        epilog: text at the end of --help; examples if not given.

    Returns:
        A parser with --config-file, --import, --resume, --eval-only, --num-gpus, --num-machines,
        --machine-rank, --dist-url and trailing KEY VALUE pairs (`opts`).
    """
    parser = ToolParser(epilog=epilog or _EXAMPLES.format(program=Path(sys.argv[0]).name))
    add_training_arguments(parser)
    add_config_options(parser, "opts")
    return parser


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that training takes, but for the KEY VALUE pairs at the end.

    Args:
        parser: a `ToolParser`; changed in place.
    """
    add_config_arguments(parser)
    add_resume_argument(parser)
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the file's learning rate linearly to SOLVER.IMS_PER_BATCH",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS alone")
    add_process_arguments(parser)


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --num-gpus, --num-machines, --machine-rank and --dist-url."""
    parser.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="processes on this machine"
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, metavar="N", help="number of machines"
    )
    parser.add_argument(
        "--machine-rank",
        type=int,
        default=0,
        metavar="N",
        help="number of this machine, from 0",
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where processes connect, tcp://HOST:PORT; auto finds a port on one machine",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool has that reads a config: --config-file and --import."""
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="a config: its path, or (part of) its name under configs/ and projects/",
    )
    add_import_argument(parser)


def add_import_argument(parser: argparse.ArgumentParser) -> None:
    """Add --import, whose files are in `imports`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE",
        help="your own Python file or module, with models, datasets, hooks; may be repeated",
    )


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --recipe and --auto."""
    parser.add_argument(
        "--recipe",
        choices=["fast", "balanced", "accurate"],
        metavar="SIZE",
        help="fast, balanced or accurate (without it, fast on a CPU and balanced on a GPU)",
    )
    parser.add_argument(
        "--auto",
        action="store_true",
        help="derive schedule, image size and the like for --config-file, too",
    )


def add_predicting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --confidence-threshold, --batch-size and --device."""
    parser.add_argument(
        "--confidence-threshold",
        "--threshold",
        metavar="T",
        help="lowest score, CLASS=T,... or report.json; default: the checkpoint's, else 0.5",
    )
    parser.add_argument(
        "--batch-size", type=whole_number(1), default=8, help="images at once (%(default)s)"
    )
    parser.add_argument("--device", help="cuda, cuda:1, mps or cpu; default: the best there is")


def add_ensemble_argument(parser: argparse.ArgumentParser) -> None:
    """Add --ensemble."""
    parser.add_argument(
        "--ensemble",
        action="append",
        metavar="RUN",
        default=[],
        help="a further model of the same classes, whose boxes are fused; may be repeated",
    )


def add_config_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add KEY VALUE pairs that come last on the command line and win over the config file.

    Args:
        parser: changed in place.
        name: "opts" for trailing pairs, "--opts" for pairs after that word, which an
            `IntermixedParser` does not need.
    """
    parser.add_argument(
        name,
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="come last, win over the file; KEY=VALUE for a Python config"
        + (" (after the word --opts, which KEY VALUE do not need)" if name != "opts" else ""),
    )


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--resume [FILE]`.

    Args:
        parser: a `ToolParser` where KEY VALUE pairs come last; changed in place.
    """
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="go on from FILE, or from the newest checkpoint of OUTPUT_DIR, if there is one",
    )
