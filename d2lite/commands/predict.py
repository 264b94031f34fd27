"""Draw what a model finds in pictures, folders and videos.

    d2lite predict output/quick_start photos/
    d2lite predict --input street.jpg --output found.jpg
    d2lite predict --config-file R50_3x.yaml --input "holiday/*.jpg" clip.mp4 --save-json found.json

RUN is the folder of a training or one of its checkpoints. With neither RUN nor --config-file, the
published Mask R-CNN for the 80 COCO classes is used and fetched once. A config.yaml that training
wrote brings its own last checkpoint. No display is needed.
"""

import argparse

from d2lite.utils.arguments import IntermixedParser, add_config_arguments, add_config_options


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite predict`."""
    parser = IntermixedParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words", metavar="RUN INPUT", nargs="*", help="the run, then its inputs; see --input"
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--input", nargs="+", default=[], help="images, folders, quoted globs or videos"
    )
    parser.add_argument(
        "--output", default="predictions", help="a file for one input, else a folder (%(default)s)"
    )
    parser.add_argument(
        "--confidence-threshold", type=float, default=0.5, help="lowest score drawn (%(default)s)"
    )
    parser.add_argument("--save-json", metavar="FILE", help="write the instances as COCO results")
    add_config_options(parser, "--opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Predict every input."""
    from d2lite.utils.errors import ConfigError

    run, inputs = (args.words[:1], args.words[1:])
    args.input = [*inputs, *args.input]
    if not args.input:
        raise ConfigError("Nothing to predict: give RUN INPUT..., or --input INPUT...")
    from .actions.predict import predict

    if run:
        from .actions.runs import options_of_run

        args.config_file, opts = options_of_run(run[0], args.config_file)
        args.opts = [*opts, *args.opts]
    predict(args)
