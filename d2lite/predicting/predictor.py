"""Predictor: images of any kind in, plain results out."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from d2lite.config import CfgNode
from d2lite.data import Metadata
from d2lite.data.images.image_io import convert_image_to_rgb
from d2lite.engine import DefaultPredictor
from d2lite.engine.resuming import DRAWING_KEYS, facts_of_weights
from d2lite.utils.argument_types import check_types
from d2lite.utils.env import resolve_device
from d2lite.utils.errors import ArgumentError, DataError, MissingFileError

from .ensemble import EnsemblePredictor
from .exported_predictor import load_predictor
from .images import as_image
from .inputs import is_many
from .merge_tiles import merge_tiles
from .model_source import model_config
from .outputs import enlarged, read_outputs, run_model, with_limited_size
from .result import Result
from .thresholds import Thresholds, lowest_of, read_thresholds, threshold_array
from .tile_windows import tile_windows
from .video import images_of

__all__ = ["Predictor"]

# Threads that decode images.
_READERS = 4


class Predictor:
    """A trained model for images of any kind; one object may be used by several threads.

        predictor = Predictor("output/model_final.pth")
        result = predictor("photo.jpg")
        print(result.names, result.boxes)
        result.plot("found.png")

    Attributes:
        cfg: the configuration of the model.
        model: in evaluation mode.
        metadata: class names and colours.
        class_names: of the objects; empty where they are not known.
        batch_size: images in one step of the model.
    """

    def __init__(
        self,
        source: Any,
        *,
        device: str | None = None,
        threshold: Thresholds | str | Path = None,
        batch_size: int = 8,
        array_format: str = "BGR",
        opts: Sequence[str] = (),
        imports: Sequence[str] = (),
        ensemble: Sequence[Any] = (),
    ) -> None:
        """Load a model.

        Args:
            source: a checkpoint, the folder of a run, a config, or the name of a published model;
                see `model_config`.
            device: "cuda", "cuda:1", "mps" or "cpu"; None for the best one of this machine.
            threshold: lowest score of what is returned, for all classes or by class name; the path
                of a run's report.json for the best of each class; None for what the checkpoint
                states, else 0.5.
            batch_size: the most images in one step of the model.
            array_format: of numpy arrays with three or four channels: "BGR" as OpenCV reads
                them, or "RGB".
            opts: KEY, VALUE, ... that win over the config.
            imports: Python files or modules of the model, to import first.
            ensemble: further models of the same classes, whose boxes are fused with those of the
                first, see `Ensemble`.

        Raises:
            UserError: if the model cannot be found, read or built.
        """
        check_types(Predictor.__init__, locals())
        if array_format not in ("BGR", "RGB"):
            raise ArgumentError(f"array_format is {array_format!r}; choose 'BGR' or 'RGB'.")
        if batch_size < 1:
            raise ArgumentError(f"batch_size is {batch_size}; it must be 1 or more.")
        cfg = model_config(source, opts, imports)
        facts = facts_of_weights(cfg.MODEL.WEIGHTS)
        if isinstance(threshold, str | Path):
            threshold = read_thresholds(threshold)
        threshold = facts.get("thresholds") if threshold is None else threshold
        members = []
        for one in (cfg, *(model_config(other, (), imports) for other in ensemble)):
            _choose_device(one, device)
            _lower_score_threshold(one, lowest_of(threshold))
            members.append(load_predictor(one))
        self._loaded: DefaultPredictor | EnsemblePredictor = members[0]
        if ensemble:
            self._loaded = EnsemblePredictor(members)
        self.cfg, self.model = self._loaded.cfg, self._loaded.model
        self.metadata = _completed(self._loaded.metadata, facts.get("metadata"))
        self.class_names: list[str] = list(self.metadata.get("thing_classes") or ())
        self.batch_size = batch_size
        self._array_format = array_format
        self._lowest = threshold_array(threshold, self.class_names)
        # Models keep caches, of anchors for instance; one step fills the device anyway.
        self._lock = threading.Lock()

    @overload
    def __call__(
        self, image: list[Any] | tuple[Any, ...], *, tiles: int | None = ..., overlap: float = ...
    ) -> list[Result]: ...

    @overload
    def __call__(self, image: Any, *, tiles: int | None = ..., overlap: float = ...) -> Result: ...

    def __call__(
        self, image: Any, *, tiles: int | None = None, overlap: float = 0.2
    ) -> Result | list[Result]:
        """Predict one image, or each of a list.

        Args:
            image: a path or address, a numpy array, a Pillow image or a tensor, see `as_image`; or
                a list of these.
            tiles: side in pixels of the tiles that large images are cut into, see `merge_tiles`;
                None predicts whole images.
            overlap: share of a tile that it has in common with the next one.

        Returns:
            A result, or a list of results in the order of the images. Those of a list of paths
            read the image again when they draw it.

        Raises:
            DataError: if an image cannot be read, or it is a folder, a glob or a video.
        """
        if isinstance(image, list | tuple):
            results = self.stream(image, tiles=tiles, overlap=overlap)
            return [replace(r, image=None) if r.path else r for r in results]
        if isinstance(image, str | Path) and is_many(str(image)):
            raise DataError(
                f"{image} is not one image. `for result in predictor.stream({str(image)!r})` "
                "predicts what is in it, one after the other."
            )
        return next(self.stream([image], tiles=tiles, overlap=overlap))

    def stream(
        self,
        images: Iterable[Any] | str | Path | int,
        *,
        tiles: int | None = None,
        overlap: float = 0.2,
        on_error: Callable[[Any, Exception], None] | None = None,
    ) -> Iterator[Result]:
        """Predict any number of images, which are taken as they are needed.

            for result in predictor.stream("photos/"):
                print(result.path, result.counts())

        Images of one size are predicted in batches. A batch has no images of other sizes, whose
        padding would change the results.

        Args:
            images: of any kind of `__call__`; or, as one text or path, a folder, a glob, a video,
                a camera (0) or a dataset, see `find_inputs`.
            tiles: see `__call__`.
            overlap: likewise.
            on_error: called with an image that cannot be read and the error, instead of raising
                it; the image then has no result.

        Yields:
            The result of each image, in their order.
        """
        check_types(Predictor.stream, locals())
        waiting: list[tuple[Any, np.ndarray, dict[str, Any]]] = []
        if isinstance(images, str | Path | int):
            images = images_of([str(images)])
        for image, pixels in self._read_ahead(images, on_error):
            if tiles is not None:
                yield self._in_tiles(image, pixels, tiles, overlap)
                continue
            item = self._loaded.model_input(pixels)
            is_other = waiting and waiting[0][2]["image"].shape != item["image"].shape
            if is_other or len(waiting) >= self.batch_size:
                yield from self._predict(waiting)
                waiting = []
            waiting.append((image, pixels, item))
        yield from self._predict(waiting)

    def _read_ahead(
        self, images: Iterable[Any], on_error: Callable[[Any, Exception], None] | None
    ) -> Iterator[tuple[Any, np.ndarray]]:
        """Images with their pixels, read by other threads while the model works."""
        waiting: deque[tuple[Any, Future[np.ndarray]]] = deque()

        def first() -> Iterator[tuple[Any, np.ndarray]]:
            image, future = waiting.popleft()
            try:
                yield image, future.result()
            except (DataError, MissingFileError) as error:
                if on_error is None:
                    raise
                on_error(image, error)

        with ThreadPoolExecutor(_READERS) as pool:
            for image in images:
                waiting.append((image, pool.submit(self._pixels, image)))
                if len(waiting) > self.batch_size:
                    yield from first()
            while waiting:
                yield from first()

    def _pixels(self, image: Any) -> np.ndarray:
        return as_image(image, self._loaded.image_format, array_format=self._array_format)

    def _predict(self, batch: Sequence[tuple[Any, np.ndarray, dict[str, Any]]]) -> Iterator[Result]:
        if not batch:
            return
        asked = [with_limited_size(self.model, item) for _, _, item in batch]
        with self._lock:
            outputs = run_model(self.model, asked)
        for (source, pixels, _), item, output in zip(batch, asked, outputs, strict=True):
            size = (item["height"], item["width"])
            result = read_outputs(output, size, self.metadata, self._lowest)
            result = enlarged(result, pixels.shape[:2])
            yield replace(result, path=_path_of(source), image=self._as_rgb(pixels))

    def _as_rgb(self, pixels: np.ndarray) -> np.ndarray:
        return convert_image_to_rgb(pixels, self._loaded.image_format)

    def _in_tiles(self, image: Any, pixels: np.ndarray, side: int, overlap: float) -> Result:
        windows = tile_windows(pixels.shape[1], pixels.shape[0], side, overlap)
        parts: list[Result] = []
        for start in range(0, len(windows), self.batch_size):
            batch = []
            for x0, y0, x1, y1 in windows[start : start + self.batch_size]:
                part = pixels[y0:y1, x0:x1]
                batch.append((None, part, self._loaded.model_input(part)))
            parts += [replace(result, image=None) for result in self._predict(batch)]
        whole: Result | None = None
        if len(windows) > 1:
            item = self._loaded.model_input(pixels)
            whole = next(self._predict([(None, pixels, item)]))
        merged = merge_tiles(parts, windows, pixels.shape[:2], whole)
        return replace(merged, path=_path_of(image), image=self._as_rgb(pixels))


def _path_of(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else ""


def _completed(metadata: Metadata, stored: Any) -> Metadata:
    """A copy with what the checkpoint states of the data of its training."""
    known = metadata.as_dict()
    if isinstance(stored, Mapping):
        own = {key: value for key, value in stored.items() if key in DRAWING_KEYS}
        known = {**known, **own}
    return Metadata(**known)


def _choose_device(cfg: CfgNode, device: str | None) -> None:
    """Set the device; one that a file of the training names is used where this machine has it."""
    if device is not None:
        cfg.merge_from_list(["MODEL.DEVICE", device])
    elif cfg.origin("MODEL.DEVICE").startswith("file"):
        found = resolve_device(cfg.MODEL.DEVICE, was_set=False)
        cfg.merge_from_list(["MODEL.DEVICE", str(found)])


# The last two are SOLOv2's, before and after its suppression.
_SCORE_THRESHOLDS = (".SCORE_THRESH_TEST", ".SCORE_THR", ".UPDATE_THR")


def _lower_score_threshold(cfg: CfgNode, lowest: float) -> None:
    """Let the model return what reaches the threshold, where its own one is higher."""
    for key, value in list(cfg.keys_and_values()):
        if key.endswith(_SCORE_THRESHOLDS) and value > lowest:
            cfg.merge_from_list([key, lowest])
