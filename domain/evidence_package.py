"""The contents of an evidence package: the paths of its members, its manifest, its digests.

A package is a ZIP file. `manifest.json` has the size and the SHA-256 of every member but itself and
`SHA256SUMS`; `SHA256SUMS` has the SHA-256 of every member but itself, in the form that the program
`sha256sum -c` reads.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from attrs import field, frozen

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import FieldProblem, IncompleteEvidence, InvalidInput
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.media import SUFFIXES
from traffic_storage.domain.profiles import ChosenProfiles, EvidenceFile, Exportability
from traffic_storage.domain.profiles_json import json_of
from traffic_storage.domain.quality.assessment import Finding
from traffic_storage.domain.violation import StoredViolation

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SCHEMA = "traffic-storage/evidence-package/1"
MOST_VIOLATIONS = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@frozen
class Member:
    """A file of a package, by its path in it; `file` is the stored file whose bytes it has."""

    path: str
    size_bytes: int
    sha256: Sha256
    file: StoredFile | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the entry of the member in the manifest."""
        entry: dict[str, Json] = {
            "path": self.path,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
        }
        if self.file is not None:
            entry["file_id"] = self.file.file_id
            entry["content_type"] = self.file.content_type
            entry["violation_id"] = self.file.violation_id
        return entry


@frozen
class Completeness:
    """What the comparison of the violations of a package with their profiles has found.

    Attributes:
        chosen: the profiles; None: no completeness was checked.
        found: the result for each violation, by its id.
        deleted: the files of violations that were deleted, by the violation's id: they are missing
            whatever the profiles demand.
    """

    chosen: ChosenProfiles | None = None
    found: Mapping[str, Exportability] = field(factory=dict)
    deleted: Mapping[str, Sequence[Finding]] = field(factory=dict)

    @property
    def missing(self) -> Iterator[tuple[str, Finding]]:
        """The id of a violation and what it lacks, for each missing item."""
        for violation_id, findings in self.deleted.items():
            for finding in findings:
                yield violation_id, finding
        for violation_id, result in self.found.items():
            for finding in result.missing:
                yield violation_id, finding

    @property
    def complete(self) -> bool | None:
        """Whether nothing is missing; None if nothing is, but no completeness was checked."""
        if any(self.missing):
            return False
        return None if self.chosen is None else True

    def refuse_incomplete(self) -> None:
        """Do nothing if nothing is missing.

        Raises:
            IncompleteEvidence: something is missing; the error names each item.
        """
        problems = [
            FieldProblem(f"{violation_id}.{found.field}", found.message, found.remedy)
            for violation_id, found in self.missing
        ]
        if problems:
            raise IncompleteEvidence(problems)

    def as_json(self) -> dict[str, Json]:
        """Return the entry in the manifest: whether it was checked, by what, and what is missing."""
        missing: list[Json] = [
            {
                "violation_id": violation_id,
                "kind": found.kind,
                "field": found.field,
                "message": found.message,
            }
            for violation_id, found in self.missing
        ]
        if self.chosen is None:
            found: dict[str, Json] = {"complete": False, "missing": missing} if missing else {}
            return {"checked": False, **found}
        return {
            "checked": True,
            "complete": self.complete,
            "profiles": [json_of(profile) for profile in self.chosen.profiles],
            "missing": missing,
        }


def completeness_of(
    found: Iterable[tuple[StoredViolation, Iterable[StoredFile]]],
    chosen: ChosenProfiles | None,
    deleted: Mapping[str, Sequence[Finding]],
) -> Completeness:
    """Compare violations with profiles, by the files that are given with each."""
    if chosen is None:
        return Completeness(deleted=deleted)
    results: dict[str, Exportability] = {
        violation.violation_id: chosen.judge(
            violation.record.as_given(),
            [EvidenceFile(file.kind, file.captured_at) for file in files],
            violation.occurred_at,
        )
        for violation, files in found
    }
    return Completeness(chosen, results, deleted)


def member_of(path: str, data: bytes) -> Member:
    """Return a member with these bytes."""
    return Member(path, len(data), sha256_of(data))


def chosen_ids(violation_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the violations of a package, each once, in their order.

    Raises:
        InvalidInput: there is none, or there are more than 1,000.
    """
    ids = tuple(dict.fromkeys(violation_ids))
    if not 1 <= len(ids) <= MOST_VIOLATIONS:
        raise InvalidInput.of(
            "violation_ids", f"has {len(ids)} ids", f"give 1 to {MOST_VIOLATIONS} violations"
        )
    return ids


def folder_of(number: int, violation: StoredViolation) -> str:
    """Return the folder of a violation; `number` counts them from 1, so that no two are the same."""
    return f"violations/{number:04}-{_UNSAFE.sub('_', violation.violation_id)}"


def file_members(folder: str, files: Iterable[StoredFile]) -> list[Member]:
    """Return the members of the files of a violation: its own by their kind, others by number."""
    members = []
    for number, file in enumerate(files):
        suffix = SUFFIXES.get(file.content_type, "")
        name = _own_name(file) or f"other-{number:03}"
        content = file.content
        path = f"{folder}/{name}{suffix}"
        members.append(Member(path, content.size_bytes, content.sha256, file))
    return members


def _own_name(file: StoredFile) -> str | None:
    """Return `image`, `video` or `metadata` if the file is this part of its violation."""
    _, mark, role = file.file_id.rpartition("~")
    return role if mark and role in tuple(FileKind) else None


def record_json(violation: StoredViolation, files: Iterable[StoredFile]) -> bytes:
    """Return the record of a violation and its files, as the catalogue has them: canonical JSON."""
    return canonical_json(
        {
            **violation.record.as_given(),
            "occurred_at": violation.occurred_at.isoformat(),
            "zone_assumed": violation.zone_assumed,
            "received_at": violation.received_at.isoformat(),
            "record_sha256": violation.record_sha256,
            "image_state": _state(violation.image_file_id, violation.image_state),
            "video_state": _state(violation.video_file_id, violation.video_state),
            "files": [_described(file) for file in files],
        },
        "record",
    )


def _state(file_id: str | None, state: FileState) -> str | None:
    return state.value if file_id else None


def _described(file: StoredFile) -> dict[str, Json]:
    captured = file.captured_at
    return {
        "file_id": file.file_id,
        "kind": file.kind.value,
        "content_type": file.content_type,
        "size_bytes": file.content.size_bytes,
        "sha256": file.content.sha256,
        "created_at": file.created_at.isoformat(),
        "captured_at": None if captured is None else captured.isoformat(),
        "device_id": file.device_id,
        "original_name": file.original_name,
    }


def manifest_json(
    members: Iterable[Member],
    violation_ids: Sequence[str],
    completeness: Completeness,
    *,
    at: datetime,
    by: str,
) -> bytes:
    """Return the manifest of a package, as canonical JSON."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "created_at": at.isoformat(),
            "created_by": by,
            "violations": list(violation_ids),
            "completeness": completeness.as_json(),
            "members": [member.as_json() for member in members],
        },
        "manifest",
    )


def sums_text(members: Iterable[Member]) -> bytes:
    """Return the digests of members in the form of `sha256sum`."""
    return "".join(f"{member.sha256}  {member.path}\n" for member in members).encode()
