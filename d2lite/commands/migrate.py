"""Move a project from detectron2, or a model from MMDetection.

    d2lite migrate my_project            # show a diff of what would change
    d2lite migrate my_project --write    # change the files
    d2lite migrate --from mmdet rtmdet-ins_s.pth --output converted

Of detectron2, Python files, notebooks, YAML files and lists of requirements are read and renamed;
`d2lite run` runs a project without changing it. Of MMDetection, configs (.py) become YAML, and
checkpoints get our names. Nothing that is read is executed.
"""

import argparse
from pathlib import Path

from d2lite.utils.arguments import CommandParser
from d2lite.utils.errors import ConfigError
from d2lite.utils.other_words import is_mmdet_config


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite migrate`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    parser.add_argument(
        "--from", dest="library", choices=("detectron2", "mmdet"), default="detectron2",
        help="where it comes from (detectron2)",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="of detectron2: change the files")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="of mmdet: the folder of NAME.yaml and NAME.pth"
    )
    return parser


def main(args: argparse.Namespace) -> int:
    """Show or make the changes."""
    if args.library == "mmdet":
        if args.write:
            raise ConfigError("--write is for detectron2; of mmdet, name a folder by --output.")
        from .actions.migrate_mmdet import migrate_mmdet

        for path in args.paths:
            migrate_mmdet(path, args.output)
        return 0
    if args.output is not None:
        raise ConfigError("--output is for --from mmdet; --write changes files in their place.")
    for path in args.paths:
        if path.suffix == ".pth" or is_mmdet_config(path):
            raise ConfigError(
                f"{path} is not a Python project for detectron2. If it is a file of MMDetection: "
                f"d2lite migrate --from mmdet {path}"
            )
    from d2lite.migrate import main as migrate

    return migrate([*map(str, args.paths), *(["--write"] if args.write else [])])
