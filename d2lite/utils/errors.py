"""The mistakes a user can make, as exception types that the tools turn into one clear message.

A `UserError` carries a text that names what was found, what was expected and the key or command
that fixes it. The tools print that text without a trace, write the trace to the log file and
exit with status 2; every other exception is a fault of this code and its trace is shown. Each type
also is the builtin that fits, so code that catches `ValueError` goes on working, and so does code
that catches the `AssertionError` of detectron2's checks.
"""

import signal

__all__ = [
    "ConfigError",
    "DataError",
    "DeviceError",
    "ExportError",
    "InputTypeError",
    "MissingConfigError",
    "MissingFileError",
    "MissingPackageError",
    "NoEvaluatorError",
    "OutOfMemoryError",
    "OutputError",
    "RunInterrupted",
    "StateError",
    "TakenNameError",
    "UnknownCategoryError",
    "UnknownImportError",
    "UnknownKeyError",
    "UnknownModelError",
    "UnknownNameError",
    "UserError",
    "WeightsError",
]


class UserError(Exception):
    """A mistake that the user can fix; the message says how."""


class ConfigError(UserError, ValueError, AssertionError):
    """A configuration key or value that does not fit."""


class DataError(UserError, ValueError, AssertionError):
    """Images or annotations that cannot be used as they are."""


class ArgumentError(ValueError, AssertionError):
    """An argument that does not fit, by a mistake of code; detectron2 asserts it."""


class ShapeError(ArgumentError, RuntimeError):
    """A tensor of a shape that a layer cannot take, at which torch's operators raise too."""


class DeviceError(UserError, RuntimeError):
    """A device was asked for that this machine does not have."""


class ExportError(UserError, NotImplementedError):
    """A model, or a part of one, that cannot be exported; the message names it."""


class InputTypeError(UserError, TypeError, ValueError, AssertionError):
    """An argument of another type than a function takes."""


class MissingFileError(UserError, FileNotFoundError, AssertionError):
    """A file or folder that should be there is not."""


class MissingConfigError(MissingFileError, RuntimeError):
    """A config file that should be there is not."""


class MissingPackageError(UserError, ImportError):
    """A package that an option needs is not installed; the message has the command."""


class NoEvaluatorError(ConfigError, NotImplementedError):
    """No evaluator is known for a dataset; the evaluations of a training go on without it."""


class OutOfMemoryError(UserError, RuntimeError):
    """A step that the memory of a device does not hold."""


class OutputError(UserError, OSError):
    """A file or folder that cannot be written."""


class ProcessKilledError(UserError, RuntimeError):
    """A process of a run that a signal ended, from outside or for want of memory."""


class StateError(UserError, RuntimeError, AssertionError):
    """A call at a time when something that it needs is not there or not ready."""


class UnknownNameError(UserError, KeyError):
    """A name that is not registered; the message lists what is."""

    def __str__(self) -> str:
        # KeyError shows repr() of its argument, which would print line breaks as \n.
        return str(self.args[0]) if self.args else ""


class TakenNameError(UserError, KeyError, ValueError, AssertionError):
    """A name that something else has already."""

    __str__ = UnknownNameError.__str__


class UnknownCategoryError(DataError, UnknownNameError):
    """An annotation's category that its file does not list."""


class UnknownImportError(UnknownNameError, ImportError):
    """A dotted address of a module or object that cannot be imported."""


class UnknownKeyError(ConfigError, UnknownNameError):
    """A configuration key that does not exist; the message lists near ones."""


class UnknownModelError(UnknownNameError, RuntimeError):
    """A model that is not among the published ones; the message lists some that are."""


class WeightsError(UserError, ValueError):
    """A file of weights that cannot be read or belongs to another model."""


class RunInterrupted(KeyboardInterrupt):
    """A run that was stopped by a signal; the text says where it stopped and how to go on.

    Attributes:
        status: what the program reports to the shell, 128 + the number of the signal.
        is_shown: whether the console has shown the message.
    """

    def __init__(
        self, message: str, signal_number: int = signal.SIGINT, *, is_shown: bool = False
    ) -> None:
        """Note the message and the exit status.

        Args:
            message: at which iteration the run stopped, and how to go on.
            signal_number: of the signal that stopped it.
            is_shown: whether the log has shown the message on the console.
        """
        super().__init__(message)
        self.is_shown = is_shown
        self.status = 128 + int(signal_number)
