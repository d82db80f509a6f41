"""Errors a person sees: what is wrong, with the value; where; what to do."""


class RetargetError(Exception):
    """Something that stops the work. Its text is for the person who reads it."""

    exit_code = 1


class DataError(RetargetError):
    """The user's data can't be used as it is."""

    exit_code = 2


class UsageError(RetargetError):
    """What was asked for doesn't exist or doesn't fit together."""

    exit_code = 2


class SourceError(RetargetError):
    """A pretrained model can't be found, reached, trusted or read."""


class StoreError(RetargetError):
    """The feature store or a run directory can't be read or written."""


class TrainingError(RetargetError):
    """Training can't go on: a loss that is not finite, too little memory."""


class MissingExtraError(RetargetError):
    """An optional package is needed. The text holds the `pip install` line."""


class UnreadableInput(Exception):  # noqa: N818 - a fact about one example, not a failure of the run
    """One example can't be read. Its text is the reason, without the example's name."""
