"""Retention: from which time a file's period counts, how long it is, and when it ends."""

from datetime import UTC, datetime, timedelta

from attrs import frozen

from traffic_storage.domain.files import FileKind, RetentionBasis, RetentionClock, StoredFile
from traffic_storage.domain.times import in_words


@frozen
class RetentionPeriods:
    """How long files of each kind are kept; the default rules."""

    image: timedelta = timedelta(days=90)
    video: timedelta = timedelta(days=30)
    metadata: timedelta = timedelta(days=365)

    def of(self, kind: FileKind) -> timedelta:
        """The period for a kind."""
        return {
            FileKind.IMAGE: self.image,
            FileKind.VIDEO: self.video,
            FileKind.METADATA: self.metadata,
        }[kind]


@frozen
class CaptureBounds:
    """Which capture times are plausible.

    Attributes:
        earliest: an earlier one is of a camera whose clock lost its power: such clocks start at
            1970-01-01, 1980-01-06 or 2000-01-01.
        max_backdating: how long before receipt one may lie, unless the caller states that the file
            is historic.
    """

    earliest: datetime = datetime(2000, 1, 2, tzinfo=UTC)
    max_backdating: timedelta = timedelta(days=30)


@frozen
class Retention:
    """The retention of one file: until when, by the rule of which id, counted from when."""

    keep_until: datetime
    rule: str
    basis: RetentionBasis


@frozen
class RetentionPolicy:
    """The retention rules and the bounds of plausible capture times."""

    periods: RetentionPeriods = RetentionPeriods()
    bounds: CaptureBounds = CaptureBounds()

    def retention(
        self,
        kind: FileKind,
        captured_at: datetime | None,
        received_at: datetime,
        *,
        historic: bool = False,
    ) -> Retention:
        """The retention of a file of this kind."""
        basis = retention_basis(captured_at, received_at, self.bounds, historic=historic)
        return Retention(basis.at + self.periods.of(kind), f"default-{kind}", basis)


def capture_doubt(file: StoredFile) -> str:
    """Why a file's retention does not count from the capture time that was given; else empty."""
    basis = file.retention_basis
    if file.captured_at is None or basis.clock is RetentionClock.CAPTURED:
        return ""
    return basis.reason


def retention_basis(
    captured_at: datetime | None,
    received_at: datetime,
    bounds: CaptureBounds,
    *,
    historic: bool = False,
) -> RetentionBasis:
    """The time from which a file's retention counts: capture where it is plausible, else receipt.

    A capture time is plausible from `bounds.earliest` on, and if it lies at most
    `bounds.max_backdating` before receipt or the caller states that the file is `historic`.
    One after receipt is plausible here: `times.time_problem` refuses what is too far ahead.
    """

    def received(reason: str) -> RetentionBasis:
        return RetentionBasis(RetentionClock.RECEIVED, received_at, reason)

    if captured_at is None:
        return received("no capture time was given")
    if captured_at < bounds.earliest:
        return received(
            f"the capture time is before {bounds.earliest.isoformat()} (earliest_capture): "
            "the clock of the device is not set"
        )
    backdating = received_at - captured_at
    if backdating <= bounds.max_backdating:
        return RetentionBasis(RetentionClock.CAPTURED, captured_at, "the capture time is plausible")
    if historic:
        return RetentionBasis(
            RetentionClock.CAPTURED, captured_at, "the caller states that the file is historic"
        )
    return received(
        f"the capture time lies {in_words(backdating)} before receipt, more than "
        f"{in_words(bounds.max_backdating)} (max_backdating), and the file is not stated to be "
        "historic"
    )
