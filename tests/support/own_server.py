"""What all servers of a test's own have in common."""

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.support.lifetime import Startable
from tests.support.ports import PortLease
from tests.support.process import ServerProcess


class OwnServer(Startable):
    """One server process with a folder and ports of its own. `start` again after `stop` or `kill`
    goes on with the same data and ports.
    """

    folder: Path
    _leases: Sequence[PortLease]
    _process: ServerProcess

    def stop(self) -> None:
        """Stop in an orderly way; connections close."""
        self._process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it and all that it has started; connections close."""
        self._process.kill()

    def stall(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing answers, none closes."""
        self._process.stall()

    def resume(self) -> None:
        """Go on after `stall`."""
        self._process.resume()

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self._process.log_tail()

    def close(self) -> None:
        """Kill it, remove its folder, give the ports back."""
        self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        for lease in self._leases:
            lease.release()
