"""What `d2lite predict` does: find the inputs, predict them, write what was asked for."""

import argparse
import datetime
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from d2lite.engine import launch
from d2lite.predicting import Predictor, Result
from d2lite.predicting.inputs import Input, find_inputs
from d2lite.predicting.model_source import model_config
from d2lite.predicting.progress import Progress, stamp_of
from d2lite.predicting.saving import (
    OutputWriter,
    parse_formats,
    save_crops,
    write_coco_results,
)
from d2lite.predicting.thresholds import Thresholds, lowest_of
from d2lite.predicting.tracking import Tracker
from d2lite.predicting.video import Video, VideoFile, write_video
from d2lite.utils import comm
from d2lite.utils.errors import DataError, MissingFileError, OutputError
from d2lite.utils.file_io import make_folder
from d2lite.utils.logger import setup_logger

from .predict_words import check_formats, parse_threshold, split_words, unique_stems

DEFAULT_MODEL = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
# How long processes that have finished their images wait for the others.
_PATIENCE = datetime.timedelta(days=7)
# So many files are named one by one; of more there is a progress bar.
_NAMED = 100
_MORE_NAMES = 3

logger = logging.getLogger("d2lite.predict")


def predict(args: argparse.Namespace) -> int:
    """Predict every input; where torchrun or srun started several processes, each a part of them.

    Returns:
        The exit status: 1 if some of several inputs could not be read.
    """
    status: int = launch(_predict, 1, args=(args,), timeout=_PATIENCE)
    return status


def _predict(args: argparse.Namespace) -> int:
    setup_logger(distributed_rank=comm.get_rank())
    run, words = split_words(args)
    opts = list(args.opts)
    source = run or args.config_file or DEFAULT_MODEL
    if run and args.config_file:
        source, opts = args.config_file, ["MODEL.WEIGHTS", run, *opts]
    cfg = model_config(source, opts, args.imports)
    formats = parse_formats(args.save_as)
    inputs = find_inputs(words)
    check_formats(formats, [one for one in inputs if one.is_video], args)
    _check_output(args, formats, inputs)
    threshold = parse_threshold(args.confidence_threshold)
    predictor = Predictor(
        cfg,
        device=args.device,
        threshold=threshold,
        batch_size=args.batch_size,
        imports=args.imports,
        ensemble=args.ensemble,
    )
    return _Prediction(args, predictor, formats, threshold).run(inputs)


def _check_output(args: argparse.Namespace, formats: list[str], inputs: list[Input]) -> None:
    """Make the folders of all results, and refuse a file where a folder is needed."""
    output = Path(args.output)
    if _is_file(output, inputs) and formats != ["drawing"]:
        raise OutputError(
            f"--output {output} is a file, and --save-as {','.join(formats)} writes a folder. Name "
            "a folder."
        )
    is_folder = len(inputs) > 1 or not output.suffix
    make_folder(output if is_folder else output.parent, "--output")
    if args.save_json:
        if os.path.isdir(args.save_json):
            raise OutputError(f"--save-json {args.save_json} is a folder. Name a file.")
        make_folder(Path(args.save_json).parent, "--save-json")


def _is_file(output: Path, inputs: list[Input]) -> bool:
    return len(inputs) == 1 and bool(output.suffix) and not output.is_dir()


class _Prediction:
    """One run of the command."""

    def __init__(
        self,
        args: argparse.Namespace,
        predictor: Predictor,
        formats: list[str],
        threshold: Thresholds,
    ) -> None:
        self.args, self.predictor = args, predictor
        self.output = Path(args.output)
        self.threshold = threshold
        self.writer = OutputWriter(self.output, formats, image_mode=args.images)
        self.keeps_objects = self.writer.needs_entries or bool(args.save_json)
        self.failed: list[str] = []
        # This process predicts every `step`-th input.
        self.first, self.step = comm.get_rank(), comm.get_world_size()

    def run(self, inputs: list[Input]) -> int:
        """Predict all, write everything, and return the exit status."""
        is_file = _is_file(self.output, inputs)
        images = [one.name for one in inputs if not one.is_video]
        videos = [one for one in inputs if one.is_video]
        progress = None
        entries: list[dict[str, Any]] = []
        if len(images) > 1:
            progress = Progress(self.output, self._options(), process=self.first)
        for name, content, drawn in self._images(images, progress, is_file):
            if progress is not None:
                progress.add(name, content)
            else:
                entries.append({"name": name, **content})
            if len(inputs) <= _NAMED:
                print(*drawn, sep="\n", end="\n" if drawn else "")
        for one in videos[self.first :: self.step]:
            with self._left_out(one, is_alone=len(inputs) == 1):
                entries += self._video(one, self.output if is_file else None)
        entries = self._gather(entries)
        if not comm.is_main_process():
            return 0
        self._finish(progress, entries, images)
        return self._report_failed(f"{len(inputs)} {'inputs' if videos else 'images'}")

    def _gather(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Wait for all processes; the main one gets what they found and could not do."""
        parts = comm.gather((entries, self.failed, self.writer.lost, self.writer.strings))
        if parts:
            self.failed = [name for _, failed, _, _ in parts for name in failed]
            self.writer.lost = sum((lost for _, _, lost, _ in parts), Counter())
            self.writer.strings = {k: v for *_, strings in parts for k, v in strings.items()}
        return [entry for part, *_ in parts for entry in part]

    def _options(self) -> dict[str, Any]:
        args, cfg = self.args, self.predictor.cfg
        return {
            "weights": [cfg.MODEL.WEIGHTS, stamp_of(cfg.MODEL.WEIGHTS)],
            "config": cfg.dump(),
            "ensemble": [[run, stamp_of(run)] for run in args.ensemble],
            "threshold": self.threshold,
            "tiles": [args.tiles, args.overlap],
            "save_as": self.writer.formats,
            "objects": self.keeps_objects,
        }

    def _images(
        self, names: list[str], progress: Progress | None, is_file: bool
    ) -> Iterator[tuple[str, dict[str, Any], list[Path]]]:
        """Predict images and write their files; name, what to note, and the drawing of each."""
        stems = unique_stems(names, drawings_alone=self.writer.formats == ["drawing"])
        finished = progress.finished if progress else set()
        waiting = [name for name in names[self.first :: self.step] if name not in finished]
        if finished:
            logger.info(
                f"{sum(name in finished for name in names)} of {len(names)} images are finished "
                f"already; going on with the others (delete {progress and progress.path} to begin "
                "again)"
            )
        results = self.predictor.stream(
            waiting,
            tiles=self.args.tiles,
            overlap=self.args.overlap,
            on_error=self._on_error if len(names) > 1 else None,
        )
        shown, found = comm.is_main_process(), set[bool]()
        for result in _with_bar(results, len(waiting)) if shown else results:
            if len(names) <= _NAMED:
                logger.info(str(result))
            has_maps = result.segments is not None or result.semantic is not None
            found.add(has_maps or len(result) > 0)
            if is_file:
                result.plot(self.output)
                drawn = [self.output]
            else:
                drawn = self.writer.write(result, stems[result.path])
            yield result.path, self._content(result), drawn
        # Of all images: none was predicted before, or is another process's.
        is_whole = not finished and self.step == 1
        if is_whole and found == {False} and self.args.confidence_threshold is None:
            logger.info(
                "No object reaches the threshold. A lower one may find some: --threshold 0.1"
            )

    def _content(self, result: Result) -> dict[str, Any]:
        return result.to_dict() if self.keeps_objects else {}

    @contextmanager
    def _left_out(self, video: Input, *, is_alone: bool) -> Iterator[None]:
        try:
            yield
        except (DataError, MissingFileError) as error:
            if is_alone:
                raise
            self._on_error(video.name, error)

    def _on_error(self, image: Any, error: Exception) -> None:
        self.failed.append(str(image))
        logger.error(f"Left out: {error}")

    def _video(self, source: Input, path: Path | None) -> list[dict[str, Any]]:
        """Predict the frames of a video; what is noted of each."""
        video = Video(source)
        stem = f"camera_{source.name}" if source.is_camera else Path(source.name).stem
        path = path or self.output / f"{stem}.mp4"
        track = None
        if self.args.track:
            begin_at = min(lowest_of(self.threshold) + 0.1, 0.7)
            track = Tracker(frame_rate=video.frame_rate, begin_at=begin_at)
        entries: list[dict[str, Any]] = []
        frames = islice(video, self.args.max_frames)
        results = self.predictor.stream(frames, tiles=self.args.tiles, overlap=self.args.overlap)
        with write_video(path, video.frame_rate) as file:
            bar = tqdm(results, desc=path.name, unit="frame", total=video.num_frames)
            try:
                for number, result in enumerate(bar):
                    named = replace(result, path=f"{source.name}#{number}")
                    entries.append(self._frame(track(named) if track else named, file, stem))
            except KeyboardInterrupt:
                if not source.is_camera:
                    raise
                logger.info("Interrupted: writing what the camera has shown so far")
        if not entries:
            raise DataError(f"{source.name}: the video has no readable frame.")
        if "drawing" in self.writer.formats:
            print(path)
        return entries

    def _frame(self, result: Result, file: VideoFile, stem: str) -> dict[str, Any]:
        """Write what is wanted of a frame; what to note of it."""
        if "drawing" in self.writer.formats:
            file.add(result.plot())
        if "crops" in self.writer.formats:
            number = int(result.path.rpartition("#")[2])
            save_crops(result, self.output / "crops", f"{stem}_{number:06d}")
        return {"name": result.path, **self._content(result)}

    def _finish(
        self, progress: Progress | None, more: list[dict[str, Any]], images: Sequence[str]
    ) -> None:
        noted = _Entries(progress, more, images)
        names = self.predictor.class_names
        for path in self.writer.finish(noted, names).values():
            print(path)
        if self.args.save_json:
            write_coco_results(noted, Path(self.args.save_json), names)
        for kind, string in self.writer.strings.items():
            print(f"{self.output / kind} (read by {string})")
        for what, count in (+self.writer.lost).items():
            logger.warning(f"Not kept by every format of --save-as: {count} {what}")
        if progress is not None:
            progress.remove()

    def _report_failed(self, total: str) -> int:
        if not self.failed:
            return 0
        shown = ", ".join(self.failed[:_MORE_NAMES])
        more = f" and {len(self.failed) - _MORE_NAMES} more" if len(self.failed) > 3 else ""
        logger.error(f"{len(self.failed)} of {total} could not be read: {shown}{more}")
        # torchrun would take it for the end of a lost process, and begin everything again.
        return 0 if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) else 1


class _Entries:
    """What was noted of all images, read again each time."""

    def __init__(
        self, progress: Progress | None, more: list[dict[str, Any]], images: Sequence[str]
    ) -> None:
        self._progress, self._more, self._images = progress, more, images

    def __iter__(self) -> Iterator[dict[str, Any]]:
        progress = self._progress
        noted: Iterable[dict[str, Any]] = progress.contents(self._images) if progress else ()
        return chain(noted, self._more)


def _with_bar(results: Iterable[Result], total: int) -> Iterable[Result]:
    return tqdm(results, total=total, unit="image") if total > _NAMED else results
