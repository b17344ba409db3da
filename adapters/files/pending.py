"""A new file that is given up while a thread may still hang in a call that uses it."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from traffic_storage.adapters.files.staging import Staged


class PendingFile:
    """A staged file that its first use makes. One use at a time, in any thread.

    A thread that hangs in a use may outlast its caller, who gives the file up. The file is then
    closed at the end of that use and not before, because another file could get its descriptor.
    """

    def __init__(self, make: Callable[[], Staged]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._file: Staged | None = None
        self._is_in_use = False
        self._is_given_up = False

    @contextmanager
    def use(self) -> Iterator[Staged]:
        """Keep the file open for the duration of the block. Raises OSError if it was given up."""
        with self._lock:
            self.check_wanted()
            self._is_in_use = True
        try:
            self._file = self._file or self._make()
            yield self._file
        finally:
            with self._lock:
                self._is_in_use = False
                is_given_up = self._is_given_up
            if is_given_up:
                self.discard()

    def check_wanted(self) -> None:
        """Raise OSError if the file was given up."""
        if self._is_given_up:
            raise OSError(errno.EBADF, "the file was given up")

    def give_up(self) -> bool:
        """Let no other use begin; return whether the caller must call `discard`.

        Otherwise there is no file, or the use that runs discards it at its end. Does not block.
        """
        with self._lock:
            self._is_given_up = True
            return self._file is not None and not self._is_in_use

    def discard(self) -> None:
        """Give the file up and delete it, or let the use that runs delete it at its end."""
        with self._lock:
            self._is_given_up = True
            if self._is_in_use:
                return
            file, self._file = self._file, None
        if file is not None:
            file.discard()
