"""Model: train, evaluate and predict in one line each, over the config and `DefaultTrainer`."""

import copy
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from d2lite.config import CfgNode
from d2lite.engine import DefaultTrainer, evaluate_checkpoint
from d2lite.engine.derived_config import ClassKey
from d2lite.export import export_model
from d2lite.predicting import Predictor, Result
from d2lite.predicting.model_source import model_config
from d2lite.predicting.thresholds import Thresholds
from d2lite.recipes import find_sets
from d2lite.utils.argument_types import check_types
from d2lite.utils.errors import InputTypeError, StateError
from d2lite.utils.other_words import called_here

__all__ = ["Model"]

Data = str | Path | Sequence[str]
Options = Mapping[str, Any]

# Words of other libraries that are arguments here.
_ARGUMENTS = {
    "cfg_options": "options={KEY: value}",
    "conf": "threshold",
    "data": "the first argument",
    "device": "an argument of Model(...)",
    "format": "to",
    "model": "the first argument of Model(...)",
    "resume": "an argument of train()",
    "source": "the first argument",
}


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _refuses_others(
    taken_by: Callable[..., Any] | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a method of `Model` refuse arguments that it does not have, before Python looks for some.

    The `InputTypeError` says what they are called here, if they are those of another library.

    Args:
        taken_by: the function that the method hands options to; None if it takes none.
    """

    def wrap(method: Callable[_P, _R]) -> Callable[_P, _R]:
        calls = (method, *((taken_by,) if taken_by else ()))
        taken = [p for call in calls for p in inspect.signature(call).parameters.values()]
        named = dict.fromkeys(p.name for p in taken if p.kind is p.KEYWORD_ONLY)
        known = {p.name for p in taken if p.kind is not p.VAR_KEYWORD}

        @functools.wraps(method)
        def call(*args: _P.args, **given: _P.kwargs) -> _R:
            others = [name for name in given if name not in known]
            if others:
                raise InputTypeError(
                    f"Model.{method.__name__}() has no argument {' and no '.join(others)}; it has "
                    f"{', '.join(named)}.{''.join(map(_other_word, others))}"
                )
            return method(*args, **given)

        return call

    return wrap


def _other_word(name: str) -> str:
    here = _ARGUMENTS.get(name) or called_here(name)
    if not here:
        return ""
    is_key = name not in _ARGUMENTS and here.split()[0].isupper()
    how = ", which options={KEY: value} sets" if is_key else ""
    return f" {name} of other libraries is {here} here{how} (docs/from_ultralytics.md)."


class Model:
    """A model from its training to its predictions.

        model = d2lite.Model("mask_rcnn_R_50_FPN_3x")
        model.train("photos/", options={"SOLVER.MAX_ITER": 3000})
        model.predict("photo.jpg").plot("found.png")

    What it does, it does by `cfg` and `trainer`, which may be used directly at any time.

    Attributes:
        cfg: the configuration, with the newest weights in MODEL.WEIGHTS; change it as you like.
        trainer: of the last training; None before.
    """

    def __init__(
        self, source: Any, *, device: str | None = None, options: Options | None = None
    ) -> None:
        """Find a model.

        Args:
            source: the name of a published model or of a carried config, a checkpoint, the folder
                of a run, a config file, or a config.
            device: "cuda", "cuda:1", "mps" or "cpu"; None for the best one of this machine.
            options: keys of the configuration and their values.

        Raises:
            UserError: if there is no such model.
        """
        check_types(Model.__init__, locals())
        self.cfg: CfgNode = model_config(source, needs_weights=False)
        self.trainer: DefaultTrainer | None = None
        self._device = device
        self._threshold: Thresholds | str | Path = None
        if device is not None:
            self.cfg.MODEL.DEVICE = device
        _set(self.cfg, options)

    @_refuses_others()
    def train(
        self,
        data: Data | None = None,
        *,
        test: Data | None = None,
        resume: bool | str | Path = False,
        options: Options | None = None,
    ) -> Mapping[str, Any] | None:
        """Train, beginning from the present weights.

        Args:
            data: the folder of your data, as for `d2lite train`; or names of datasets or strings
                that name their files, see docs/datasets.md; None for DATASETS.TRAIN.
            test: of the evaluation; None for DATASETS.TEST, or where `data` is one text for its
                own validation part, if it has one.
            resume: continue the run in OUTPUT_DIR, see `DefaultTrainer.resume_or_load`.
            options: keys of the configuration and their values, kept for later calls.

        Returns:
            The results of the last evaluation; None if there was none.

        Raises:
            UserError: if the configuration or the data do not fit.
        """
        check_types(Model.train, locals())
        if data is not None:
            if _is_path(data) or (isinstance(data, str | os.PathLike) and test is None):
                data, own_test, _ = find_sets(str(data))
                test = own_test if test is None else test
            _set(self.cfg, {"DATASETS.TRAIN": _names(data), "DATASETS.TEST": _names(test or ())})
            _free_classes(self.cfg)
        elif test is not None:
            _set(self.cfg, {"DATASETS.TEST": _names(test)})
        _set(self.cfg, options)
        # The trainer derives values in its config, such as the number of classes.
        self.trainer = DefaultTrainer(copy.deepcopy(self.cfg))
        self.trainer.resume_or_load(str(resume) if isinstance(resume, os.PathLike) else resume)
        results = self.trainer.train()
        weights = self.trainer.checkpointer.get_checkpoint_file()
        self.cfg = copy.deepcopy(self.trainer.cfg)
        _set(self.cfg, {"MODEL.WEIGHTS": weights})
        self.__dict__.pop("predictor", None)
        return results

    @_refuses_others()
    def evaluate(
        self,
        data: Data | None = None,
        *,
        options: Options | None = None,
    ) -> dict[str, Any]:
        """Evaluate the present weights.

        Args:
            data: as for `train`, of a folder its validation split; None for DATASETS.TEST.
            options: keys of the configuration and their values, for this call alone.

        Returns:
            Results by task and metric, such as results["bbox"]["AP"].

        Raises:
            UserError: if there are no data or no weights.
        """
        check_types(Model.evaluate, locals())
        cfg = copy.deepcopy(self._trained())
        if _is_path(data):
            data = find_sets(str(data)).test
        if data is not None:
            _set(cfg, {"DATASETS.TEST": _names(data)})
        _set(cfg, options)
        return evaluate_checkpoint(cfg)

    @_refuses_others(Predictor.__call__)
    def predict(
        self, image: Any, *, threshold: Thresholds | str | Path = None, **options: Any
    ) -> Result | list[Result]:
        """Predict one image or a list of images; for folders and videos there is `stream`.

        Args:
            image: a path, array, Pillow image, tensor, or a list of these; see `Predictor`.
            threshold: lowest score, see `Predictor`.
            **options: of the call of a `Predictor`, such as tiles=640.

        Raises:
            UserError: if there are no weights, or an image cannot be read.
        """
        check_types(Model.predict, locals())
        found: Result | list[Result] = self._predictor_with(threshold)(image, **options)
        return found

    @_refuses_others(Predictor.stream)
    def stream(
        self,
        images: Iterable[Any] | str | Path | int,
        *,
        threshold: Thresholds | str | Path = None,
        **options: Any,
    ) -> Iterator[Result]:
        """Predict any number of images, one after the other.

        Args:
            images: a folder, glob, video, camera (0) or dataset, or images of any kind; see
                `Predictor.stream`.
            threshold: lowest score, see `Predictor`.
            **options: of `Predictor.stream`, such as tiles=640.

        Raises:
            UserError: if there are no weights, or an image cannot be read.
        """
        check_types(Model.stream, locals())
        return self._predictor_with(threshold).stream(images, **options)

    @_refuses_others(export_model)
    def export(self, output: str | Path, *, to: str = "onnx", **options: Any) -> dict[str, Any]:
        """Write the present weights as a file for another library, and prove it.

        Args:
            output: the folder of the file and of proof.json.
            to: "onnx", "torch" or "openvino".
            **options: of `d2lite.export.export_model`, such as with_runner=True.

        Returns:
            What proof.json holds; "agrees" says whether the file gives the model's results.

        Raises:
            UserError: if there are no weights, or the model cannot be exported.
        """
        return export_model(self._trained(), output, to=to, **options)

    @cached_property
    def predictor(self) -> Predictor:
        """The present weights as a `Predictor`, with the threshold of the last prediction."""
        return Predictor(self._trained(), device=self._device, threshold=self._threshold)

    def _predictor_with(self, threshold: Thresholds | str | Path) -> Predictor:
        if threshold != self._threshold:
            self._threshold = threshold
            self.__dict__.pop("predictor", None)
        return self.predictor

    def _trained(self) -> CfgNode:
        weights = self.cfg.MODEL.WEIGHTS
        if not weights or "ImageNetPretrained" in weights:
            raise StateError(
                "The model has no weights of a detector yet: call train(), or name a checkpoint, a "
                "run or a published model."
            )
        return self.cfg

    def __repr__(self) -> str:
        return f"Model({self.cfg.MODEL.META_ARCHITECTURE}, weights {self.cfg.MODEL.WEIGHTS!r})"


def _is_path(data: Data | None) -> bool:
    """Whether it is a folder or file rather than a dataset string or a name."""
    return isinstance(data, str | os.PathLike) and os.path.exists(data)


def _names(data: Data) -> tuple[str, ...]:
    return (str(data),) if isinstance(data, str | os.PathLike) else tuple(map(str, data))


def _set(cfg: CfgNode, options: Options | None) -> None:
    for key, value in (options or {}).items():
        cfg.merge_from_list([key, value], origin="code")


def _free_classes(cfg: CfgNode) -> None:
    """Let the number of classes follow from new data, whatever the model had before."""
    held = ClassKey.of(cfg)
    if held.key is not None:
        cfg.derive(held.key, held.count, "the model before")
