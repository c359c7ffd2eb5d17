"""How the process ends: message and exit code of every error, SIGTERM at a safe point, Kubernetes' termination message."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from recsys import errors, storage
from recsys.errors import ConfigError, DamagedError, RecsysError, RetryError, TerminatedError
from recsys.progress.voice import TEXT, Voice
from recsys.redaction import printable
from recsys.run.remedies import remedy

TERMINATED = "ended by SIGTERM; finished work is kept, and the same command resumes from there"
_AGAIN_SECONDS = 0.05
EXIT_CODES = """\b
Exit codes:
   0  done
   2  usage or configuration, such as a folder that this user may not write
  65  bad input data, or a damaged file of a run
  69  a component is missing (Java, TensorFlow, a required GPU)
  70  a bug in recsys, or training that diverged twice
  75  try again (storage, a full disk, a lock, a process killed for lack of memory, SIGTERM in training)
  78  not published: refused by the quality gate, not measured, or damaged
 130  interrupted from the keyboard
 143  ended by SIGTERM
"""


class Group(click.Group):
    """Turns every error into one clear message, its exit code (errors.py) and a termination message for Kubernetes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of their declaration, which is the order of the work."""
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, *others: Any, **kwargs: Any) -> Any:
        """Runs the command line, with a Voice as the context's object, and exits."""
        voice = Voice.of(os.environ, sys.argv[1:] if args is None else args)
        try:
            super().main(args, *others, **{**kwargs, "standalone_mode": False, "obj": voice})
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the work is done, and so says the exit code
            sys.exit(errors.EXIT_DONE)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except click.ClickException as error:
            if voice.form == TEXT:
                words = io.StringIO()
                error.show(words)
                click.echo(printable(words.getvalue()), err=True, nl=False)
            else:
                voice.say(error.format_message(), "error", exit_code=errors.EXIT_USAGE)
            sys.exit(errors.EXIT_USAGE)
        except (click.Abort, KeyboardInterrupt):
            voice.say("interrupted; finished work is kept", "error", exit_code=errors.EXIT_INTERRUPTED)
            sys.exit(errors.EXIT_INTERRUPTED)
        except BrokenPipeError:
            sys.exit(errors.EXIT_DONE)
        except (Exception, TerminatedError) as error:
            if (found := _explained(error)) is not None:
                _end(voice, found)
            leave_last_words(error)
            reason = f"internal error: {type(error).__name__}: {error}; set RECSYS_DEBUG=1 for a traceback, and report it"
            _say(voice, reason, errors.EXIT_DEFECT)
            sys.exit(errors.EXIT_DEFECT)


def exit_code(error: BaseException) -> int:
    """The code that the command line exits with for an error."""
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return errors.EXIT_INTERRUPTED
    found = _explained(error)
    return errors.EXIT_DEFECT if found is None else found.exit_code


def _explained(error: BaseException) -> RecsysError | TerminatedError | None:
    """The error that says what to do; None for a bug."""
    if isinstance(error, TerminatedError):
        return _terminated(error) or error
    return _terminated(error) or (known(error) if isinstance(error, Exception) else None)


def _say(voice: Voice, text: str, code: int) -> None:
    """Prints the reason for the end, which may quote settings and data, and before it the traceback if that is asked for."""
    if os.environ.get("RECSYS_DEBUG"):
        voice.say(traceback.format_exc(), "debug")
    voice.say(text, "error", exit_code=code)


def _terminated(error: BaseException) -> TerminatedError | None:
    """The end by SIGTERM, if the error comes after one: libraries tell of its exception in words of their own.

    A RetryError says how work that polls has ended, such as training with its checkpoint saved.
    """
    stop = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    asked = isinstance(stop, Stop) and stop()
    return TerminatedError(TERMINATED) if asked and not isinstance(error, RetryError) else None


def known(error: Exception) -> RecsysError | None:
    """The error that the user can act on: for memory that runs out, and a disk, an object store or TensorFlow that fails,
    wherever that occurred; a damaged file with how to make it again; None for a defect."""
    if isinstance(error, DamagedError):
        return DamagedError(f"{error}; {remedy(error.uri)}", error.uri)
    if isinstance(error, RecsysError):
        return error
    if isinstance(error, MemoryError):
        return RetryError("out of memory; give the container more, or lower training.batch_tokens")
    if type(error).__name__ == "ResourceExhaustedError":  # of TensorFlow, which this file need not import
        words = str(error).strip().splitlines()[0][:200]
        return ConfigError(
            f"TensorFlow ran out of memory: {words}; give the container or the GPU more, or train a smaller network (lower "
            "model.width)"
        )
    return storage.known(error)


def _end(voice: Voice, error: RecsysError | TerminatedError) -> NoReturn:
    """Ends the process with a message and the error's exit code."""
    leave_last_words(error)
    _say(voice, str(error), error.exit_code)
    sys.exit(error.exit_code)


class Stop:
    """SIGTERM handler: raises TerminatedError at once; inside `softly` it only sets a flag, until the next safe point."""

    def __init__(self) -> None:
        self._asked = self._soft = False

    def __call__(self) -> bool:
        """Whether SIGTERM was received."""
        return self._asked

    def install(self) -> None:
        """Becomes this process's handler for SIGTERM."""
        signal.signal(signal.SIGTERM, self._on_signal)
        sys.unraisablehook = _on_unraisable

    @contextmanager
    def softly(self) -> Iterator[None]:
        """While the block runs, SIGTERM only sets the flag, which the block polls; if set, the process ends after the block."""
        self._soft = True
        try:
            yield
        finally:
            self._soft = False
        self.check()

    def check(self) -> None:
        """Ends the process here if SIGTERM was received: a library may have swallowed the exception of the handler.

        Raises:
            TerminatedError: it was.
        """
        if self._asked:
            raise TerminatedError(TERMINATED)

    def ignore(self) -> None:
        """From here on SIGTERM changes nothing, unless it was received already: how the process ends is settled.

        A process that ended with 143 after its run was recorded as finished would be started again, with a new run.
        """
        if not self._asked and getattr(signal.getsignal(signal.SIGTERM), "__self__", None) is self:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _on_signal(self, _signal: int, _frame: Any) -> None:
        self._asked = True
        if not self._soft:
            raise TerminatedError(TERMINATED)


def _on_unraisable(ignored: Any) -> None:
    """Sends SIGTERM again if Python has dropped its exception: it does so where none can be raised, as in `__del__`."""
    if ignored.exc_type is not TerminatedError:
        sys.__unraisablehook__(ignored)
        return
    again = threading.Timer(_AGAIN_SECONDS, os.kill, [os.getpid(), signal.SIGTERM])
    again.daemon = True
    again.start()


def leave_last_words(error: BaseException, path: str = "/dev/termination-log") -> None:
    """Writes the reason of a failure where Kubernetes shows it; elsewhere that file does not exist and nothing happens."""
    if os.path.isfile(path) and os.access(path, os.W_OK):
        code = error.exit_code if isinstance(error, (RecsysError, TerminatedError)) else errors.EXIT_DEFECT
        with open(path, "w", encoding="utf-8") as file:
            file.write(printable(f"exit {code}: {error}")[:4000])
