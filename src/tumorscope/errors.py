"""Every error that Tumorscope raises on purpose.

::

    TumorscopeError             exit status 1
    ├── DataError               something about the images or their labels
    │   ├── DecodeError         one file cannot be read as a scan
    │   ├── SourceError         a folder, archive or table is not a data set
    │   ├── DownloadError       a public data set that cannot be fetched
    │   ├── ManifestError       rows that contradict each other or the files
    │   └── SplitError          a split that would leak, or cannot be cut
    ├── RecipeError             a training choice that is unknown or impossible
    ├── BundleError             a stored model that cannot be trusted or loaded
    ├── TrainingError           a training that diverged or cannot be resumed
    ├── EvaluationError         a measurement that would mean nothing
    ├── FindingError            a finding that contradicts itself, or is of another version
    └── OutputError             a place that cannot be written
    UsageError                  exit status 2, options that exclude each other

A message says what was given, what is allowed and what to do next. The command line prints it in one line; a program can
catch `TumorscopeError` for all of them.
"""


class TumorscopeError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class DataError(TumorscopeError):
    """Something is wrong with images or labels."""


class DecodeError(DataError):
    """One file cannot be read as a scan; `fault` says in one word why, such as `truncated` or `multi_frame`."""

    def __init__(self, message: str, *, fault: str = "unreadable") -> None:
        super().__init__(message)
        self.fault = fault


class SourceError(DataError):
    """A folder, archive or table is not a data set that Tumorscope understands."""


class DownloadError(DataError):
    """A public data set cannot be fetched; the message says how to place it by hand."""


class ManifestError(DataError):
    """Rows of a manifest contradict each other or the files they name."""


class SplitError(DataError):
    """A split would leak, or cannot be cut from what is there."""


class RecipeError(TumorscopeError):
    """A training choice is unknown, of the wrong kind or impossible."""


class BundleError(TumorscopeError):
    """A stored model is incomplete, altered or of an unknown version."""


class TrainingError(TumorscopeError):
    """A training diverged, or cannot go on from what is stored."""


class EvaluationError(TumorscopeError):
    """A measurement was asked for that would mean nothing."""


class FindingError(TumorscopeError):
    """A finding contradicts itself, or what was read is none of this version."""


class OutputError(TumorscopeError):
    """A place cannot be written."""


class UsageError(TumorscopeError):
    """Options exclude each other."""

    exit_code = 2
