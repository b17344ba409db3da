"""Running several coroutines at the same time."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run all coroutines concurrently and return their results in order.

    When one fails or the caller is cancelled, the others are cancelled, and all have ended before
    this returns. The first error is raised as it is, not in an `ExceptionGroup`.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
