"""One family of errors and one table of exit codes.

Every message is a single line that says what is wrong, in which file or case, and what would be right, e.g.
``liver_012.nii.gz: spacing 0.0 mm along z; expected > 0``. The command line prints it after ``medfs: `` and leaves
with the code of its class.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a finished ``medfs`` process says to the shell."""

    OK = 0
    SOME_FAILED = 1  # some cases failed, the others were written
    USAGE = 2  # the call or a configuration is wrong
    NOTHING_DONE = 3  # no case could be processed
    STORAGE = 4  # the output could not be written
    DIVERGED = 5  # training met a loss or a parameter that is not finite
    INTERRUPTED = 130  # SIGINT
    TERMINATED = 143  # SIGTERM


class MedfsError(Exception):
    r"""Base of all errors a user can cause; ``str()`` of it is one line.

    >>> str(MedfsError("a.nii.gz: two\n lines"))
    'a.nii.gz: two lines'
    """

    exit_code: ExitCode = ExitCode.SOME_FAILED

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class InputError(MedfsError):
    """A file cannot be used as it is; names the file, the cause and the remedy."""


class UsageError(MedfsError):
    """The call, a configuration or a name is wrong."""

    exit_code = ExitCode.USAGE


class NothingDoneError(MedfsError):
    """No case at all could be processed."""

    exit_code = ExitCode.NOTHING_DONE


class StorageError(MedfsError):
    """The output cannot be written: disk full, no permission, a folder in the way."""

    exit_code = ExitCode.STORAGE


class DivergedError(MedfsError):
    """The loss or the parameters are no longer finite."""

    exit_code = ExitCode.DIVERGED


def root_cause(error: BaseException) -> str:
    r"""The innermost cause of an error in one line; MONAI wraps what the parts of a bundle raise.

    >>> root_cause(ValueError("not\n one number"))
    'ValueError: not one number'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error) if isinstance(error, MedfsError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
