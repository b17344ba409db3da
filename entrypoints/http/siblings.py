"""Siblings: processes that serve the same address, and tell each other their metrics.

Whoever collects metrics reaches one of them, which asks the others: each listens on a socket in a
folder that is theirs alone, and answers a connection with its metrics, as OpenMetrics text.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import cast

from attrs import field, frozen
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser
from prometheus_client.registry import Collector

_SUFFIX = ".sock"
_PATIENCE_SECONDS = 2.0
_LABEL = "process"

_encode, _ = choose_encoder("application/openmetrics-text")
_parse = cast(Callable[[str], Iterable[Metric]], parser.text_string_to_metric_families)

logger = logging.getLogger("traffic_storage.http")


@frozen
class Siblings:
    """The processes that have sockets in `folder`; this one has the number `index`."""

    folder: Path
    index: int

    @asynccontextmanager
    async def answering(self, metrics: Callable[[], Collector]) -> AsyncIterator[None]:
        """Tell the others the metrics of this process until the block ends."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # One that asked may not have waited.
            with closing(writer), suppress(ConnectionError):
                writer.write(_encode(metrics()))
                await writer.drain()

        place = self._socket(self.index)
        place.unlink(missing_ok=True)  # of a process that ended and that this one replaces
        server = await asyncio.start_unix_server(answer, place)
        try:
            yield
        finally:
            server.close()
            place.unlink(missing_ok=True)

    async def gathered(self, own: Collector) -> list[Metric]:
        """Return the metrics of this process and of the others, labelled with the process.

        Those of a process that does not answer, because it is just being replaced, are left out.
        """
        others = self._others()
        answers = await asyncio.gather(*map(self._asked, others))
        found = _Labelled()
        found.add(self.index, own.collect())
        for index, families in zip(others, answers, strict=True):
            found.add(index, families)
        return list(found.families.values())

    def _others(self) -> list[int]:
        try:
            names = [one.name for one in self.folder.iterdir()]
        except OSError as error:
            logger.warning("the other processes can't be asked for their metrics: %s", error)
            return []
        numbers = (int(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX))
        return sorted(number for number in numbers if number != self.index)

    async def _asked(self, index: int) -> list[Metric]:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._socket(index))
                with closing(writer):
                    return list(_parse((await reader.read()).decode()))
        except TimeoutError:
            why = f"no answer within {_PATIENCE_SECONDS:g} seconds"
        except (OSError, ValueError) as error:  # ValueError: it ended while it answered
            why = str(error)
        logger.warning("process %d does not tell its metrics: %s", index, why)
        return []

    def _socket(self, index: int) -> Path:
        return self.folder / f"{index}{_SUFFIX}"


@frozen
class _Labelled:
    families: dict[str, Metric] = field(factory=dict)

    def add(self, index: int, families: Iterable[Metric]) -> None:
        """Add the metrics of a process."""
        for one in families:
            family = self.families.setdefault(
                one.name, Metric(one.name, one.documentation, one.type, one.unit)
            )
            family.samples += [
                sample._replace(labels={**sample.labels, _LABEL: str(index)})
                for sample in one.samples
            ]
