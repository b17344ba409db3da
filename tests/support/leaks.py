"""What a test must not leave behind: open files and sockets, running asyncio tasks."""

import asyncio
import gc
import os
from collections import Counter
from pathlib import Path

from tests.support.ports import lock_folder

_POLL_SECONDS = 0.02


def open_descriptors() -> Counter[str]:
    """What this process has open, by target; sockets and pipes under one name each.

    Event loops' own descriptors (`anon_inode:…`) are left out, and leases of ports: the servers of
    the whole run keep them, and a test may be the first one that starts a server.
    """
    ours = (f"/proc/{os.getpid()}/fd", f"{lock_folder()}/", "anon_inode:")
    targets: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        kind, _, rest = target.partition(":[")
        if not target.startswith(ours):
            targets[kind if rest else target] += 1
    return targets


def tasks_besides_ours() -> set[asyncio.Task[object]]:
    """The unfinished tasks of the running loop without the calling one."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def leaks_since(
    descriptors: Counter[str], tasks: set[asyncio.Task[object]], patience_seconds: float = 2.0
) -> tuple[Counter[str], set[asyncio.Task[object]]]:
    """What is open or runs now and was not among `descriptors` and `tasks`.

    What is about to close gets `patience_seconds` to do so.
    """
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while True:
        # An object in a reference cycle closes its descriptor when it is collected.
        gc.collect()
        leaked = open_descriptors() - descriptors, tasks_besides_ours() - tasks
        if not any(leaked) or asyncio.get_running_loop().time() > deadline:
            return leaked
        await asyncio.sleep(_POLL_SECONDS)
