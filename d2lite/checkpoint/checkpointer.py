"""Checkpointer: save and load a model with the rest of the state of a run."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from d2lite import __version__
from d2lite.utils.comm import all_gather, is_main_process, unwrap
from d2lite.utils.errors import (
    InputTypeError,
    MissingFileError,
    OutputError,
    TakenNameError,
    WeightsError,
)
from d2lite.utils.file_io import PathManager, atomic_write, write_file

from .folder import LAST_CHECKPOINT, checkpoints_by_age, read_mark
from .matching import LoadReport, fit_to_model
from .reading import OWN_KEY, local_weights_file, read_checkpoint, tensors_of
from .serializable import to_serializable

# What a load_state_dict raises of a state that has other parts or other types than it expects.
MISFIT_ERRORS = (ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError)


class Stateful(Protocol):
    """What can be saved with the model."""

    def state_dict(self) -> Any:
        """The state, of tensors and plain values."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Restore a state."""


class Checkpointer:
    """Saves and loads a model and the state of its run; a file is complete or not there.

    A file holds "model" (the state dict, without the names that wrappers add), one entry for each
    checkpointable, what `save` was given, and under "d2lite" the version and `extra`.

    Args:
        model: may be wrapped for distributed training.
        save_dir: folder of the checkpoints.
        save_to_disk: whether `save` writes; None writes in the main process only.
        extra: plain values that every file carries under "d2lite": class names, config.
        collect: needed where a state is spread over processes. It is called in all of them with
            what a file will hold, and returns the complete content in the main process. All
            processes must then call `save`; what it raises in one, it raises in all.
        weights_to_save: returns the state dict that a file holds as "model", for instance averaged
            weights under the same names; None for the model's own.
        keep_matching_classes: when a file of other classes is loaded, take over the rows of the
            classes that the file (`class_names` under "d2lite") and the model
            (`model.class_names`) both name. Only `DetectionCheckpointer` does this.
        **checkpointables: objects with state_dict() and load_state_dict(), for instance
            optimizer=...; plain values are passed to `save`.

    Attributes:
        loaded_extra: what the last loaded file carried under "d2lite".
        report: what happened to each parameter at the last load, or None.
        path_manager: finds the files of addresses such as "s3://..."; `PathManager` by default.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        collect: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        weights_to_save: Callable[[], dict[str, Any]] | None = None,
        keep_matching_classes: bool = False,
        **checkpointables: Any,
    ) -> None:
        self.model = unwrap(model)
        self.save_dir = str(save_dir)
        self.save_to_disk = is_main_process() if save_to_disk is None else save_to_disk
        self.checkpointables: dict[str, Stateful] = {}
        for key, obj in checkpointables.items():
            self.add_checkpointable(key, obj)
        self.weights_to_save = weights_to_save or self.model.state_dict
        self.collect = collect
        self.extra: dict[str, Any] = dict(extra or {})
        self.keep_matching_classes = keep_matching_classes
        self.loaded_extra: dict[str, Any] = {}
        self.report: LoadReport | None = None
        self.path_manager: Any = PathManager
        self._loading = ""
        self.logger = logging.getLogger(__name__)

    @property
    def _folder(self) -> Path:
        """The folder on the disk that `save_dir` means."""
        is_address = "://" in self.save_dir
        return Path(
            self.path_manager.get_local_path(self.save_dir) if is_address else self.save_dir
        )

    def add_checkpointable(self, key: str, checkpointable: Stateful) -> None:
        """Save and load `checkpointable` under `key` from now on.

        Raises:
            TakenNameError: if the key is taken.
            InputTypeError: if the object has no state.
        """
        if key in self.checkpointables or key in ("model", OWN_KEY):
            raise TakenNameError(f"A checkpoint already holds {key!r}; use another key.")
        if not all(hasattr(checkpointable, name) for name in ("state_dict", "load_state_dict")):
            raise InputTypeError(
                f"{key!r} is a {type(checkpointable).__name__} without state_dict() and "
                "load_state_dict(); pass plain values to save() instead."
            )
        self.checkpointables[key] = checkpointable

    # ------------------------------------------------------------------ saving

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `save_dir/NAME.pth` and note it as the last checkpoint.

        Args:
            name: file name without ending.
            **kwargs: further plain values, for instance iteration=999.

        Raises:
            OutputError: if it cannot be written; an older file of that name stays whole.
            TypeError: if something in it is neither tensor nor plain value.
        """
        if not self.save_dir or not (self.save_to_disk or self.collect):
            return
        data: dict[str, Any] = {"model": self.weights_to_save()}
        data |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        data |= kwargs
        if self.collect is None:
            self._write(name, data)
            return
        data, error = self.collect(data), None
        try:
            if self.save_to_disk:
                self._write(name, data)
        except OutputError as caught:
            error = caught
        error = all_gather(error)[0]
        if error is not None:
            raise error

    def _write(self, name: str, data: dict[str, Any]) -> None:
        data[OWN_KEY] = {"version": __version__, **self._model_facts(), **self.extra}
        path = self._folder / f"{name}.pth"
        plain = to_serializable(data)
        with atomic_write(path, "wb") as stream:
            torch.save(plain, stream)
        self.tag_last_checkpoint(path.name)
        self.logger.info("Saved checkpoint %s", path)

    def _model_facts(self) -> dict[str, Any]:
        names = getattr(self.model, "class_names", None)
        return {} if names is None else {"class_names": list(names)}

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note which file of `save_dir` a resumed run starts from."""
        write_file(self._folder / LAST_CHECKPOINT, last_filename_basename)

    # ------------------------------------------------------------------ loading

    def load(
        self,
        path: str,
        checkpointables: Sequence[str] | None = None,
        *,
        content: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Load the model, and the checkpointables that the file holds.

        Args:
            path: file, or address that `PathManager` knows; empty loads nothing.
            checkpointables: keys to load beside the model; None for all.
            content: what `read_newest` read from that file already; it is changed.

        Returns:
            What else the file holds, for instance {"iteration": 999, "d2lite": {...}}.

        Raises:
            MissingFileError: if there is no such file.
            WeightsError: if it cannot be read or none of its weights fits the model.
        """
        if not path:
            self.logger.info("No weights given (MODEL.WEIGHTS is empty): starting from random ones")
            return {}
        content = self._read(path) if content is None else content
        self._loading = path
        self.report = self._load_model(content)
        if self.report is not None:  # an override need not report
            self.logger.log(self.report.level, "Loaded %s: %s", path, self.report)
        wanted = self.checkpointables if checkpointables is None else checkpointables
        for key in wanted:
            self._load_checkpointable(key, content, path)
        content.pop("model", None)
        own = content.get(OWN_KEY)
        self.loaded_extra = dict(own) if isinstance(own, Mapping) else {}
        return content

    def _read(self, path: str) -> dict[str, Any]:
        return self._load_file(str(local_weights_file(path, self.path_manager)))

    def _load_file(self, f: str) -> dict[str, Any]:
        """Read a file; a subclass may read other formats.

        Args:
            f: its path on the disk.

        Returns:
            A dict with the weights as "model".
        """
        return read_checkpoint(f)

    def _convert_ndarray_to_tensor(self, state_dict: dict[str, Any]) -> None:
        """Make tensors of the arrays among the weights, in place; `read_checkpoint` leaves none."""
        state_dict.update(tensors_of(state_dict))

    def _load_model(self, checkpoint: dict[str, Any]) -> LoadReport | None:
        """Put the weights of a file into the model.

        Args:
            checkpoint: what `_load_file` returned.

        Returns:
            What happened to each parameter.
        """
        weights = checkpoint["model"]
        self._convert_ndarray_to_tensor(weights)
        fitting, report = fit_to_model(weights, self.model)
        if not report.loaded and report.missing:
            raise WeightsError(
                f"None of the {len(weights)} weights in {self._loading} fits the model, which "
                f"expects names such as {report.missing[0]!r}; the file has "
                f"{', '.join(map(repr, report.examples()))}. Is it of another model? "
                "Set MODEL.WEIGHTS, or the MODEL.* keys that the file was trained with."
            )
        self.model.load_state_dict(fitting, strict=False)
        lost = [name for name, w in fitting.items() if w.is_floating_point() and w.isnan().any()]
        if lost:
            self.logger.warning(
                "%d of the %d weights in %s are not numbers (NaN), such as %r: with them a model "
                "finds nothing. Use an earlier checkpoint.",
                len(lost),
                len(fitting),
                self._loading,
                lost[0],
            )
        return report

    def _load_checkpointable(self, key: str, content: dict[str, Any], path: str) -> None:
        if key not in self.checkpointables:
            raise ValueError(
                f"{key!r} is not a checkpointable; known: "
                f"{', '.join(self.checkpointables) or 'none'}."
            )
        if key not in content:
            self.logger.warning("%s does not hold %r: it starts from scratch", path, key)
            return
        try:
            self.checkpointables[key].load_state_dict(content.pop(key))
        except MISFIT_ERRORS as err:
            raise WeightsError(
                f"The {key!r} in {path} does not fit this run ({err}). To start a new run from "
                "its weights, leave --resume out and set MODEL.WEIGHTS to the file."
            ) from err

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Continue from the last checkpoint if there is one, else load weights.

        Args:
            path: weights to start from otherwise, without optimizer and the like.
            resume: False loads `path` in any case.

        Returns:
            What `load` returns.
        """
        newest = self.read_newest() if resume else None
        if newest is not None:
            return self.load(newest[0], content=newest[1])
        if resume:
            self.logger.info("Nothing to resume in %s: starting from scratch", self.save_dir)
        return self.load(path, checkpointables=[])

    def read_newest(
        self, check: Callable[[str, dict[str, Any]], None] | None = None
    ) -> tuple[str, dict[str, Any]] | None:
        """Read the last checkpoint, or the one before where that one cannot be used.

        Args:
            check: called with the path and the content of each file that is tried; raises a
                WeightsError for one that cannot be used.

        Returns:
            Its path and its content, for `load`; None if no run has saved in `save_dir`.

        Raises:
            MissingFileError: if the file that is noted as the last one is gone, with all others.
            WeightsError: if there are files and none of them can be read.
        """
        if not self.has_checkpoint():
            return None
        refused: list[Exception] = []
        for path in checkpoints_by_age(self._folder):
            try:
                if not path.is_file():
                    # The noted one is the first: the text says what is left.
                    self.get_checkpoint_file()
                content = self._read(str(path))
                if check is not None and self._is_whole(content):
                    check(str(path), content)
            except (WeightsError, MissingFileError, OSError) as error:
                refused.append(error)
                self.logger.error("Skipping %s, which cannot be used: %s", path.name, error)
                continue
            if self._is_whole(content):
                if refused:
                    self.logger.warning("Using %s instead", path)
                return str(path), content
        is_noted = os.path.lexists(self._folder / LAST_CHECKPOINT)
        if not is_noted and len(refused) == 1:
            # Readable files of weights alone, put there to begin from: no run has saved.
            return None
        if refused:
            raise refused[0]
        raise WeightsError(
            f"No file in {self.save_dir} holds more than weights, so there is nothing to resume. "
            "Set MODEL.WEIGHTS to one of them and leave --resume out."
        )

    def _is_whole(self, content: Mapping[str, Any]) -> bool:
        """Whether a file holds the state of a run and not weights alone."""
        return not self.checkpointables or any(key in content for key in self.checkpointables)

    def has_checkpoint(self) -> bool:
        """Whether `save_dir` notes a last checkpoint, or has those that a run saves."""
        return bool(self.save_dir) and read_mark(self._folder) is not None

    def get_checkpoint_file(self) -> str:
        """Path of the last checkpoint, or an empty text if there is none.

        Raises:
            MissingFileError: if the file that is noted as the last one is gone.
        """
        path = read_mark(self._folder) if self.save_dir else None
        if path is None:
            return ""
        if not path.is_file():
            mark = Path(self.save_dir) / LAST_CHECKPOINT
            found = "does not name a file there" if os.path.lexists(mark) else "is missing"
            if path != mark.parent:
                found = f"names {path.name}, which is gone"
            raise MissingFileError(
                f"{mark} {found}. Write the name of another checkpoint into it "
                f"({', '.join(_names(self.get_all_checkpoint_files())) or 'none left'}) "
                "or leave --resume out to start from scratch."
            )
        return str(path)

    def get_all_checkpoint_files(self) -> list[str]:
        """Paths of the .pth files in `save_dir`, sorted by name."""
        return sorted(map(str, self._folder.glob("*.pth"))) if self.save_dir else []


def _names(paths: Sequence[str]) -> list[str]:
    return [Path(path).name for path in paths]
