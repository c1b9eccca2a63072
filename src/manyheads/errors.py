"""All errors that users can see, with the exit status of the command.

Exit statuses: 1 the run or a row failed, 2 invalid input or arguments, 3 training diverged, 75 stopped by a signal, can be
resumed. Messages say what is wrong, where, what was found instead, and what to do.
"""

from typing import Any, ClassVar

LONGEST_MESSAGE = 1000
"""Maximum characters of an error message about a row."""
MIDDLE = LONGEST_MESSAGE // 2 - 2
RESUME = "continue with --resume"
"""Hint of errors that leave a saved run."""


class ManyheadsError(Exception):
    """Base class of all errors that are shown to users.

    Those that users of Python see name no options of the command.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """`hint`: what to do next on the command line, which adds it to the message."""
        super().__init__(message)
        self.hint = hint


class UsageError(ManyheadsError):
    """Invalid input from the user; nothing was started."""

    exit_status = 2


class ConfigError(UsageError):
    """A run file that does not match the schema."""


class DataError(UsageError):
    """A data file that cannot be read or trained on."""


class ColumnsError(DataError):
    """A file whose columns, or layer, must be named under `columns` of its data source."""


class OtherFormatError(DataError):
    """A file in a format that the task type does not read."""


class EncoderError(UsageError):
    """An encoder that cannot be found, or is not supported."""


class BundleError(UsageError):
    """A model folder that is missing, damaged or has another format version."""


class CheckpointError(UsageError):
    """A checkpoint that is damaged or belongs to another run."""


class RowError(ManyheadsError):
    """One row that cannot be read; code that iterates over rows adds the place. Long messages are shortened.

    >>> RowError("'text' is missing", row_id=7).row_id
    7
    """

    def __init__(self, message: str, row_id: Any = None) -> None:
        """`row_id`: the row's `id`, if it is known."""
        cut = message if len(message) <= LONGEST_MESSAGE else message[:MIDDLE] + " … " + message[-MIDDLE:]
        super().__init__(cut)
        self.row_id = row_id


class HubError(ManyheadsError):
    """The Hub could not be reached, or did not take an upload."""


class TrainingError(ManyheadsError):
    """Training ran out of a resource, such as memory or disk space."""


class DivergedError(ManyheadsError):
    """Training produced non-finite numbers."""

    exit_status = 3


class StoppedError(ManyheadsError):
    """A signal stopped the work, whose state is saved for resuming (75: EX_TEMPFAIL of sysexits.h)."""

    exit_status = 75


def first_line(error: BaseException, longest: int = 300) -> str:
    """The first line of another library's error, for one of ours.

    >>> first_line(ValueError("no such key\\nTraceback ..."))
    'no such key'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest]
