"""The process and the event loop to which a service belongs."""

import asyncio
import os
import threading

from traffic_storage.application.runtime import WrongHome


class Home:
    """The process and the event loop that may use a service: the first ones. Thread-safe."""

    def __init__(self) -> None:
        self._claiming = threading.Lock()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    def claim(self) -> None:
        """Return if the running process and event loop are the first ones to call this.

        Raises:
            WrongHome: another process or event loop has called this before.
        """
        here = os.getpid(), asyncio.get_running_loop()
        with self._claiming:
            self._home = self._home or here
            if self._home != here:
                raise WrongHome
