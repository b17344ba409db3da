"""Drafts: files that were taken in, checked and encoded, and are not visible yet."""

from collections.abc import Collection, Mapping
from datetime import datetime

from attrs import frozen

from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.errors import Conflict
from traffic_storage.domain.files import (
    Coding,
    FileKind,
    FileState,
    MediaInfo,
    PlacementNote,
    Replica,
    ReplicaState,
    StoredFile,
    blob_key,
)
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.labels import ADDABLE, Labels
from traffic_storage.domain.placement import Placement
from traffic_storage.domain.retention import Retention, RetentionPolicy, retention_at_least
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.domain.violation import EvidencePart, StoredViolation, ViolationState
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.spool import Body

_LABELS_IN_METADATA = frozenset({"device_id", "violation_id", "timestamp"})


@frozen
class Draft:
    """One file that was checked and encoded, and is ready to be stored.

    Attributes:
        content: digests of the original bytes.
        body: the bytes that will be stored, coded by `coding`.
        historic: the caller states that an old capture time is correct.
        original_name: the file name that the caller gave.
        quality: what validating found, as canonical JSON text; None if it was not asked for.
        origin: the row of a file that comes from another catalogue; its times and its retention are
            kept. None for a new file.
        given_by: who gives the file; empty: this service.
        is_undecoded: it is an image that is decoded after it was stored (`domain.image_checks`).
        may_add: the labels that are added if the file is stored already and lacks them
            (`domain.labels`).
    """

    file_id: FileId
    kind: FileKind
    content_type: str
    content: Digests
    body: Body
    coding: Coding
    media: MediaInfo
    captured_at: datetime | None
    device_id: DeviceId | None
    violation_id: ViolationId | None
    metadata: str | None
    historic: bool = False
    original_name: str | None = None
    quality: str | None = None
    origin: StoredFile | None = None
    given_by: str = ""
    may_add: Collection[str] = ADDABLE
    is_undecoded: bool = False

    @classmethod
    def migrated(cls, origin: StoredFile, body: Body) -> "Draft":
        """Return the draft of a file of another catalogue; `body` has its stored bytes."""
        return cls(
            file_id=origin.file_id,
            kind=origin.kind,
            content_type=origin.content_type,
            content=origin.content,
            body=body,
            coding=origin.coding,
            media=origin.media,
            captured_at=origin.captured_at,
            device_id=origin.device_id,
            violation_id=origin.violation_id,
            metadata=origin.metadata,
            historic=origin.historic,
            original_name=origin.original_name,
            quality=origin.quality,
            origin=origin,
            given_by="migration",
        )

    @property
    def labels(self) -> Labels:
        """The labels that were given, metadata apart."""
        return Labels(self.device_id, self.violation_id, self.captured_at, self.historic)

    def difference(self, existing: StoredFile) -> str:
        """Describe how a stored file differs from this draft; empty if they have the same content.

        The content is the same if the original bytes are equal or, for arrays, the pixels.
        """
        if existing.kind is not self.kind:
            return f"it is of kind {existing.kind}, not {self.kind}"
        pixels = self.media.pixel_sha256
        if pixels is not None and existing.media.pixel_sha256 is not None:
            same = pixels == existing.media.pixel_sha256
            return "" if same else "its pixels differ"
        if existing.content.sha256 != self.content.sha256:
            return f"its SHA-256 is {existing.content.sha256}, not {self.content.sha256}"
        return ""

    def other_labels(self, existing: StoredFile) -> str:
        """Say which labels of this draft a stored file neither has nor gets; empty if there are none.

        It gets those in `may_add` that it lacks. A label that this draft lacks is no difference: a
        caller who repeats a call may say less. The original name and `historic` are no labels: they
        do not say what the file shows.
        """
        pairs = [(name, getattr(self, name), getattr(existing, name)) for name in ADDABLE]
        others = [
            _label_difference(name, mine, theirs)
            for name, mine, theirs in pairs
            if mine not in (None, theirs) and (theirs is not None or name not in self.may_add)
        ]
        if self.metadata != existing.metadata:
            # The other labels are in the metadata too, if they were given in it.
            mine, theirs = plain_metadata(self.metadata), plain_metadata(existing.metadata)
            if mine and mine != theirs:
                others.append(_label_difference("metadata", mine, theirs or None))
        return "; ".join(others)

    def check_same(self, existing: StoredFile) -> None:
        """Check that a stored file is this one, with labels that do not contradict.

        Raises:
            Conflict: it has other content or labels, or is deleted.
        """
        if existing.state is not FileState.AVAILABLE:
            since = existing.state_at or existing.created_at
            told = deleted(existing.state, since)
            raise Conflict("file", existing.file_id, told, cause="deletion")
        if difference := self.difference(existing):
            raise Conflict("file", self.file_id, difference)
        if labels := self.other_labels(existing):
            raise Conflict("file", self.file_id, labels, cause="labels")

    def can_replace_copies_of(self, existing: StoredFile) -> bool:
        """Return whether the bytes of this draft equal the stored bytes of a file.

        Only then can they be stored as a new replica (copy) of the file.
        """
        return (self.body.digests, self.coding) == (existing.stored, existing.coding)

    def as_part(self) -> EvidencePart:
        """Return the entry of this file in its violation's metadata file."""
        return EvidencePart(
            self.file_id, self.content_type, self.content.size_bytes, self.content.sha256
        )


def plain_metadata(text: str | None) -> Mapping[str, Json]:
    """Return the metadata of a file without the members that are labels of their own."""
    if text is None:
        return {}
    members = parse_json_object(text, "metadata")
    return {name: value for name, value in members.items() if name not in _LABELS_IN_METADATA}


def deleted(state: FileState | ViolationState, since: datetime) -> str:
    """Say of a deleted file or violation since when it is."""
    return f"it has been {state} since {since.isoformat()}; its id can't be used again"


def _label_difference(name: str, mine: object, theirs: object) -> str:
    if theirs is None:
        return f"{name} was not given when it was stored, and is not added later"
    if name == "metadata":
        return "metadata differs"
    shown = [one.isoformat() if isinstance(one, datetime) else one for one in (theirs, mine)]
    return f"{name} is {shown[0]!r}, not {shown[1]!r}"


@frozen
class DraftUnit:
    """What is stored together: one file, or a violation with its files, metadata file included.

    `key` is the id that is derived from the key with which one file is sent, if no file was stored
    with the key yet (`domain.upload_keys`).
    """

    drafts: tuple[Draft, ...]
    violation: StoredViolation | None = None
    key: FileId | None = None

    @property
    def is_migrated(self) -> bool:
        """Whether it comes from another catalogue: its bytes are read back before the commit."""
        return any(draft.origin is not None for draft in self.drafts)


def placed(
    draft: Draft,
    placement: Placement,
    received_at: datetime,
    ids: Ids,
    policy: RetentionPolicy,
    violation_type: str | None = None,
) -> StoredFile:
    """Return the catalogue row of a draft (a file ready to be stored) in the first chosen store.

    Its replica gets a new key. `violation_type` is that of the file's violation, if known. A file of
    another catalogue keeps its times, and is kept as long as there, or longer.
    """
    store, key = placement.first, blob_key(draft.kind, ids.uuid7(), draft.body.digests.sha256)
    first = Replica(store.store_id, store.tier, key, ReplicaState.PRESENT, received_at)
    facts = RetentionFacts(draft.kind, draft.device_id, violation_type)
    retention = _retention(draft, facts, policy, received_at)
    return StoredFile(
        file_id=draft.file_id,
        kind=draft.kind,
        content_type=draft.content_type,
        content=draft.content,
        stored=draft.body.digests,
        coding=draft.coding,
        created_at=draft.origin.created_at if draft.origin else received_at,
        captured_at=draft.captured_at,
        device_id=draft.device_id,
        violation_id=draft.violation_id,
        media=draft.media,
        placement=PlacementNote(placement.decision, placement.reason),
        metadata=draft.metadata,
        replicas=(first,),
        keep_until=retention.keep_until,
        retention_rule=retention.rule,
        retention_basis=retention.basis,
        historic=draft.historic,
        original_name=draft.original_name,
        quality=draft.quality,
    )


def _retention(
    draft: Draft, facts: RetentionFacts, policy: RetentionPolicy, received_at: datetime
) -> Retention:
    if draft.origin is None:
        return policy.retention(facts, draft.captured_at, received_at, historic=draft.historic)
    until, rule = retention_at_least(draft.origin, facts, policy.rules)
    return Retention(until, rule, draft.origin.retention_basis)
