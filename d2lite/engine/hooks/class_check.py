"""ClassCheckHook: the data's classes are the model's, or the run does not begin."""

import logging
from collections.abc import Callable, Mapping, Sequence

from d2lite.engine.trainer_base import HookBase
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)


class ClassCheckHook(HookBase):
    """Compares classes by name and count before the first step.

    Too few classes in the model would fail deep inside a loss, and are refused. More of them than
    the data has train, with a warning: there is no object to learn them from. Equal counts of
    other names give numbers that mean nothing.
    """

    def __init__(
        self,
        train_classes: Sequence[str],
        num_classes: int | None,
        *,
        key: str = "MODEL.ROI_HEADS.NUM_CLASSES",
        test_classes: Mapping[str, Sequence[str]] | None = None,
        loaded_classes: Sequence[str] | Callable[[], Sequence[str] | None] | None = None,
    ) -> None:
        """Make a hook.

        Args:
            train_classes: names of the training data's classes, in the order of their numbers.
            num_classes: number of classes that the model predicts; None if it is not known.
            key: the configuration key that sets this number.
            test_classes: evaluation set's name -> its class names.
            loaded_classes: the class names that came with the loaded weights, or a function that
                returns them when training begins, for weights that are loaded later.
        """
        self.train_classes = list(train_classes)
        self.num_classes = num_classes
        self.key = key
        self.test_classes = {name: list(names) for name, names in (test_classes or {}).items()}
        self._loaded_classes = loaded_classes

    @property
    def loaded_classes(self) -> list[str] | None:
        """The class names that came with the loaded weights; None if they are not known."""
        loaded = self._loaded_classes
        names = loaded() if callable(loaded) else loaded
        return None if names is None else list(names)

    def before_train(self) -> None:
        """Compare.

        Raises:
            ConfigError: if the model has fewer classes than the training data, or an evaluation
                set has other names.
        """
        self._compare_count()
        for name, classes in self.test_classes.items():
            if classes != self.train_classes:
                raise ConfigError(
                    f"The evaluation set {name!r} has other classes than the training data.\n"
                    f"  training:   {_listed(self.train_classes)}\n"
                    f"  evaluation: {_listed(classes)}\n"
                    "The numbers of the classes follow from this order, so predictions would be "
                    "scored as other classes. Use one list (names and order) in both, or leave "
                    "the set out of DATASETS.TEST."
                )
        loaded = self.loaded_classes
        if loaded is not None and loaded != self.train_classes:
            logger.warning(describe_class_change(loaded, self.train_classes))

    def _compare_count(self) -> None:
        if self.num_classes is None or self.num_classes == len(self.train_classes):
            return
        model_side = f"{self.num_classes} classes"
        loaded = self.loaded_classes
        if loaded is not None and len(loaded) == self.num_classes:
            model_side = _listed(loaded)
        else:
            model_side += " (no names known)"
        is_fewer = self.num_classes < len(self.train_classes)
        what = "does not fit the training data" if is_fewer else "is more than the data has"
        message = (
            f"{self.key}={self.num_classes} {what}.\n"
            f"  model: {model_side}\n"
            f"  data:  {_listed(self.train_classes)}\n"
            f"Set {self.key} {len(self.train_classes)}, or leave the key out: then it follows "
            "from the data."
        )
        if is_fewer:
            raise ConfigError(message)
        logger.warning(message)


def describe_class_change(before: Sequence[str], now: Sequence[str]) -> str:
    """Say how the classes of loaded weights differ from those of the data.

    Args:
        before: class names that came with the weights.
        now: class names of the data.
    """
    lines = [
        "The loaded weights were trained for other classes than the data has.",
        f"  weights: {_listed(before)}",
        f"  data:    {_listed(now)}",
    ]
    gone = [name for name in before if name not in set(now)]
    new = [name for name in now if name not in set(before)]
    if gone or new:
        lines.append(f"  gone: {', '.join(gone) or 'none'}; new: {', '.join(new) or 'none'}")
    else:
        lines.append("  the names are the same in another order")
    if len(before) == len(now):
        lines.append(
            "  The counts are equal, so the weights of the last layer were taken over; they "
            "begin as classifiers of the other classes."
        )
    return "\n".join(lines)


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit])
    more = f", ... ({len(names) - limit} more)" if len(names) > limit else ""
    return f"{len(names)} classes: {shown}{more}" if names else "0 classes"
