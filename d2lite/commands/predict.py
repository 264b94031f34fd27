"""Find objects in images, folders and videos; draw or save them.

    d2lite predict output/quick_start photos/
    d2lite predict model_final.pth photo.jpg --save-as drawing,json --tiles 640
    d2lite predict --config-file R50_3x.yaml --input "holiday/*.jpg" clip.mp4 --save-json found.json

RUN is a checkpoint, which carries its config, the folder of a training, a file of `d2lite export`,
a config or the name of a published model; without one, the published Mask R-CNN of COCO is fetched.
INPUT is a file, folder, quoted glob, address, video, camera (0), or - for paths or an image from
standard input. A prediction of many images that was stopped goes on with the same command.
"""

import argparse

from d2lite.utils.arguments import (
    IntermixedParser,
    add_config_arguments,
    add_config_options,
    add_ensemble_argument,
    add_predicting_arguments,
)
from d2lite.utils.number_arguments import whole_number


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite predict`."""
    parser = IntermixedParser(description=__doc__)
    parser.add_argument(
        "words", metavar="RUN INPUT", nargs="*", help="the run, then its inputs; see --input"
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--input", nargs="+", default=[], help="images, folders, quoted globs, videos, 0 or -"
    )
    parser.add_argument(
        "--output", default="predictions", help="a file for one input, else a folder (%(default)s)"
    )
    add_predicting_arguments(parser)
    parser.add_argument(
        "--save-as",
        default="drawing",
        metavar="FORMAT,...",
        help="drawing, json, coco, yolo, labelme, cvat, csv, crops, masks (%(default)s)",
    )
    parser.add_argument("--save-json", metavar="FILE", help="write the instances as COCO results")
    parser.add_argument(
        "--images",
        choices=("link", "copy"),
        default="link",
        help="how yolo, labelme and masks get the images beside them (%(default)s)",
    )
    parser.add_argument(
        "--tiles", type=int, metavar="SIDE", help="cut large images into tiles of SIDE pixels"
    )
    parser.add_argument(
        "--overlap", type=float, default=0.2, help="share that tiles have in common (%(default)s)"
    )
    add_ensemble_argument(parser)
    parser.add_argument("--track", action="store_true", help="number the objects of a video")
    parser.add_argument(
        "--max-frames", type=whole_number(1), metavar="N", help="end a video or camera after N"
    )
    add_config_options(parser, "--opts")
    return parser


def main(args: argparse.Namespace) -> int:
    """Predict every input."""
    from .actions.predict import predict

    return predict(args)
