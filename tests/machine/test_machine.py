"""The machine in memory, and on SQLite and disk: the same histories in each run.

`python -m tests.load.service_machine` tries others.
"""

from hypothesis import settings

from tests.machine.machine import EXAMPLES, STEPS, ServiceMachine
from tests.machine.world import DiskWorld, MemoryWorld


class InMemory(ServiceMachine):
    """All adapters in memory."""

    world_type = MemoryWorld


class OnDisk(ServiceMachine):
    """The catalogue in SQLite, local disk in a folder."""

    world_type = DiskWorld


TestMemory = InMemory.TestCase
TestDisk = OnDisk.TestCase
for _case in (TestMemory, TestDisk):
    _case.settings = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True
    )
del _case
