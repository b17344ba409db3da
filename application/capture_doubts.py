"""Capture doubts: files whose retention starts at receipt although a capture time was given.

A bulk load of old files has thousands of them, from a few devices and for one cause. The answer of
each store tells when its file expires; the log tells each device and cause once, and then counts.
"""

import logging
from collections import OrderedDict

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.retention import capture_doubt

logger = logging.getLogger("traffic_storage.store")

_REMEMBERED = 1_000
_REMEDIES = {
    True: "if the time is right, store such files with historic=True",
    False: "set the clock of the device",
}


class CaptureDoubts:
    """Logs them: the first of a device and cause, then at each tenfold count. Remembers 1,000."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str | None, bool], int] = OrderedDict()

    def note(self, file: StoredFile) -> None:
        """Count a file that was stored, if its capture time is in doubt."""
        if not (doubt := capture_doubt(file)):
            return
        is_old = file.captured_at is not None and "max_backdating" in doubt
        key = file.device_id, is_old
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self._counts.move_to_end(key)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        device = f"device {file.device_id}" if file.device_id else "no device"
        if count == 1:
            logger.warning(
                "the retention period of %s (%s) starts at its receipt: %s; %s; more such files of it "
                "are counted, not named",
                file.file_id,
                device,
                doubt,
                _REMEDIES[is_old],
            )
        elif _is_power_of_ten(count):
            logger.warning(
                "the retention period of %d files of %s starts at their receipt, lastly of %s: %s; %s",
                count,
                device,
                file.file_id,
                doubt,
                _REMEDIES[is_old],
            )


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
