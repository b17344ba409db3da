"""Which tests one worker of pytest-xdist runs: all of a file that fills something for all of them.

The mark `xdist_group` is for this, but pytest 9.2 makes pytest-xdist 3.8 ignore it without a word
(https://github.com/pytest-dev/pytest-xdist/issues/1386).
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = frozenset(
    {
        "tests/adapters/record_repo/test_plans.py",
        "tests/adapters/record_repo/test_violation_pages.py",
        "tests/house/test_build.py",
        "tests/house/test_rules.py",
    }
)


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives the tests of the files in `TOGETHER` to one worker each, all others one by one."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        if unknown := [file for file in TOGETHER if not (config.rootpath / file).exists()]:
            raise pytest.UsageError(f"{__name__} names files that do not exist: {unknown}")

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if file in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling:
    """The scheduler of all parallel runs, whatever `--dist` says."""
    return TogetherScheduling(config, log)
