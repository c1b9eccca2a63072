"""Every error a user can meet, with the exit status the command gives for it.

    ManyheadsError                 1  the run failed
    ├── UsageError                 2  bad arguments, or an output that already exists
    │   ├── ConfigError            2  the run file: unknown key, wrong type (message starts with file:line)
    │   ├── DataError              2  a data file: message starts with file:line
    │   ├── EncoderError           2  an encoder that cannot be found or used (lists the places tried)
    │   ├── BundleError            2  a model folder that is missing, damaged or of another format
    │   └── CheckpointError        2  a checkpoint that is damaged, or of another run
    ├── RowError                   1  one input row that cannot be used; its neighbours are answered
    ├── TrainingError              1  training cannot go on (the device's memory, the disk)
    ├── DivergedError              3  a guard stopped the training
    └── StoppedError              75  a signal stopped the work; it can be resumed

A message says what is wrong, where, what was seen, and what to do.
"""

from typing import Any, ClassVar

LONGEST_MESSAGE = 1000
"""Characters of what is said of a row."""
MIDDLE = LONGEST_MESSAGE // 2 - 2


class ManyheadsError(Exception):
    """Base of every error that is meant for the user's eyes."""

    exit_status: ClassVar[int] = 1


class UsageError(ManyheadsError):
    """Something the user gave cannot be used; nothing was started."""

    exit_status = 2


class ConfigError(UsageError):
    """A run file that does not follow the schema."""


class DataError(UsageError):
    """A data file that cannot be read or trained on."""


class EncoderError(UsageError):
    """An encoder that cannot be found, or has no place here."""


class BundleError(UsageError):
    """A model folder that is missing, damaged or made by another format version."""


class CheckpointError(UsageError):
    """A checkpoint that is damaged, or does not belong to the run."""


class RowError(ManyheadsError):
    """One row that cannot be read; whoever iterates rows adds the place. What it quotes may be long and is cut short."""

    def __init__(self, message: str, row_id: Any = None) -> None:
        """`row_id`: the row's own `id` as JSON has it, where it can be told."""
        cut = message if len(message) <= LONGEST_MESSAGE else message[:MIDDLE] + " … " + message[-MIDDLE:]
        super().__init__(cut)
        self.row_id = row_id


class TrainingError(ManyheadsError):
    """Training cannot go on for want of a resource."""


class DivergedError(ManyheadsError):
    """Training produced numbers that are not finite."""

    exit_status = 3


class StoppedError(ManyheadsError):
    """A signal asked the training to stop, and all that is needed to go on is saved (75: EX_TEMPFAIL of sysexits.h)."""

    exit_status = 75
