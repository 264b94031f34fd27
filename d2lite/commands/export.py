"""Export a model to ONNX, OpenVINO or torch.export, with a proof.

    d2lite export output/quick_start --to onnx --output exported/
    d2lite export model_final.pth --to openvino --output exported/ --data coco:val.json@photos

RUN is a checkpoint, which carries its config, the folder of a training, a config or the name of a
published model. The file takes 8-bit images of any size, one or several, and gives boxes, scores,
classes and masks. Beside it comes proof.json: the model and the file are run on the same images.
The exit status is 2 where they disagree.
"""

import argparse

from d2lite.utils.arguments import SubjectParser, add_config_arguments, add_config_options
from d2lite.utils.number_arguments import whole_number

FORMATS = ("onnx", "torch", "openvino")


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite export`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("RUN", "a trained model, instead of --config-file")
    add_config_arguments(parser)
    parser.add_argument("--to", choices=FORMATS, help="format of the file (onnx)")
    parser.add_argument("--output", default="exported", help="folder of the files (%(default)s)")
    parser.add_argument(
        "--masks",
        choices=("box", "image"),
        default="box",
        help="masks in the cells of their boxes, or in pixels of the image (%(default)s)",
    )
    parser.add_argument(
        "--no-resize", action="store_true", help="take images that are resized before"
    )
    parser.add_argument(
        "--with-runner",
        action="store_true",
        help="add a script, its classes and a README, which run without d2lite and torch",
    )
    parser.add_argument("--half", action="store_true", help="store weights in float16")
    parser.add_argument(
        "--int8", metavar="DATA", help="8-bit convolutions, in ranges taken from this folder or set"
    )
    parser.add_argument("--data", metavar="DATA", help="folder or set of the proof (DATASETS.TEST)")
    parser.add_argument(
        "--num-images",
        type=whole_number(1),
        default=20,
        metavar="N",
        help="of the proof (%(default)s)",
    )
    parser.add_argument(
        "--run-eval", action="store_true", help="evaluate the file on DATASETS.TEST as well"
    )
    # The words of detectron2's tools/deploy/export_model.py.
    parser.add_argument("--format", dest="old_format", help=argparse.SUPPRESS)
    parser.add_argument("--export-method", help=argparse.SUPPRESS)
    parser.add_argument("--sample-image", help=argparse.SUPPRESS)
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> int:
    """Export, and say whether the file agrees with the model."""
    from .actions.export import export

    return export(args)
