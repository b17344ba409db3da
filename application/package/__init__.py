"""Package: chosen violations with all their files as one ZIP file that anybody can verify.

Every file is handed out as evidence (`ProduceEvidence`): a copy in a durable store is verified, the
production is recorded, and each part is verified again while it is read. The digests of the manifest
are those of the catalogue, and no byte that contradicts them is handed out; so the SHA-256 of the
manifest is known before the first byte. A file that was deleted is missing. If completeness profiles are chosen, a violation that lacks
what its profile demands is refused, or what it lacks is said in the manifest and on the page. The media are stored without compression, byte for byte,
and nothing larger than a chunk is in memory.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeAlias
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from attrs import frozen

from traffic_storage.application.export import Piece
from traffic_storage.application.find import Find
from traffic_storage.application.package.page import page_of
from traffic_storage.application.produce_evidence import ProduceEvidence
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.evidence_package import (
    MANIFEST,
    SUMS,
    Completeness,
    Member,
    chosen_ids,
    completeness_of,
    file_members,
    folder_of,
    manifest_json,
    member_of,
    record_json,
    sums_text,
)
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.profiles import CompletenessProfile, Profiles
from traffic_storage.domain.quality.assessment import Finding, error
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.clock import Clock

VERIFIER = "verify.py"
PAGE = "README.html"
ProfileNames: TypeAlias = str | CompletenessProfile | Sequence[str | CompletenessProfile] | None
"""Completeness profiles by their ids (in one text, separated by commas), or as they are."""


class MakePackage:
    """Makes evidence packages. `verifier` is the text of the program that checks one."""

    def __init__(
        self,
        *,
        find: Find,
        produce: ProduceEvidence,
        clock: Clock,
        profiles: Profiles,
        verifier: bytes,
    ) -> None:
        self._find = find
        self._produce = produce
        self._clock = clock
        self._profiles = profiles
        self._verifier = verifier

    async def open(
        self,
        violation_ids: Sequence[str],
        principal: Principal,
        *,
        profile: ProfileNames = None,
        allow_incomplete: bool = False,
    ) -> "OpenPackage":
        """Look up the violations and their available files, and make the manifest.

        A file of a violation that was deleted is missing, with or without a profile: its image, its
        video, and every other that names it.

        `profile` names the completeness profiles that they must meet, as in `Profiles.named`; None
        means the setting `evidence_profile`. Without a profile, no completeness is checked, and the
        package says so. With `allow_incomplete`, what is missing is said in the package instead.

        Raises:
            InvalidInput: an id is malformed, or there are none or more than 1,000 of them, or no
                profile has this name.
            IncompleteEvidence: a violation lacks what its profile demands, or a file of it was
                deleted.
            NotFound: one of them is unknown, or of a device that the principal may not access.
            Deleted: one of them was deleted.
            CatalogueUnavailable: the database can't be reached.
        """
        ids, chosen = chosen_ids(violation_ids), self._profiles.named(profile)
        found = [await self._violation(one, principal) for one in ids]
        deleted: dict[str, Sequence[Finding]] = {
            each.violation_id: await self._deleted(each, files, principal) for each, files in found
        }
        completeness = completeness_of(found, chosen, deleted)
        if not allow_incomplete:
            completeness.refuse_incomplete()
        return self._package(found, ids, completeness, self._clock.now(), principal.name)

    def _package(
        self,
        found: Sequence[tuple[StoredViolation, Sequence[StoredFile]]],
        ids: Sequence[str],
        completeness: Completeness,
        at: datetime,
        by: str,
    ) -> "OpenPackage":
        texts: dict[str, bytes] = {}
        sections: list[tuple[StoredViolation, list[Member]]] = []
        for number, (violation, files) in enumerate(found, 1):
            folder = folder_of(number, violation)
            record = f"{folder}/record.json"
            texts[record] = record_json(violation, files)
            own = [member_of(record, texts[record]), *file_members(folder, files)]
            sections.append((violation, own))
        texts[PAGE] = page_of(sections, completeness, at=at, by=by)
        texts[VERIFIER] = self._verifier
        members = [member_of(name, texts[name]) for name in (PAGE, VERIFIER)]
        members += [member for _, own in sections for member in own]
        texts[MANIFEST] = manifest_json(members, ids, completeness, at=at, by=by)
        members.append(member_of(MANIFEST, texts[MANIFEST]))
        texts[SUMS] = sums_text(members)
        members.append(member_of(SUMS, texts[SUMS]))
        return OpenPackage(tuple(members), len(ids), completeness, texts, at, by, self._produce)

    async def _violation(
        self, violation_id: str, principal: Principal
    ) -> tuple[StoredViolation, Sequence[StoredFile]]:
        files: list[StoredFile] = []
        after: Cursor | None = None
        while True:
            found = await self._find.violation_with_files(violation_id, after=after)
            if not principal.may_access(found.violation.record.device_id):
                raise NotFound("violation", violation_id)
            files += found.files
            after = found.others.next
            if after is None:
                visible = [one for one in files if principal.may_access(one.device_id)]
                return found.violation, visible

    async def _deleted(
        self, violation: StoredViolation, files: Sequence[StoredFile], principal: Principal
    ) -> Sequence[Finding]:
        """Return which files of a violation were deleted, when and why: its own, then others that name it.

        Others that the principal may not see are left out, as they are from the package.
        """
        found = {file.file_id for file in files}
        own = {FileKind.IMAGE: violation.image_file_id, FileKind.VIDEO: violation.video_file_id}
        findings = []
        for kind, file_id in own.items():
            if file_id is None or file_id in found:
                continue
            try:
                await self._find.file(file_id)
            except NotFound as gone:
                findings.append(_missing(kind, gone))
        others = await self._find.deleted_files(violation.violation_id)
        return findings + [
            _missing(other.identifier, other)
            for other in others
            if other.identifier not in own.values() and principal.may_access(other.device_id)
        ]


def _missing(name: str, gone: NotFound) -> Finding:
    remedy = f"{gone.remedy}; allow_incomplete packs the others"
    return error("deleted_file", f"files.{name}", gone.message, remedy)


@frozen
class OpenPackage:
    """A package whose contents are settled; `pieces` makes its bytes.

    Attributes:
        members: all its files, in their order.
        violations: the number of violations.
        completeness: what their comparison with profiles has found.
    """

    members: Sequence[Member]
    violations: int
    completeness: Completeness
    _texts: Mapping[str, bytes]
    _at: datetime
    _by: str
    _produce: ProduceEvidence

    @property
    def manifest_sha256(self) -> Sha256:
        """The SHA-256 of `manifest.json`, to be handed over on another way than the package."""
        return sha256_of(self._texts[MANIFEST])

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield the bytes of the ZIP file. Close the iterator (`aclosing`) when leaving early.

        Raises:
            NoGoodReplica: every copy of a file is corrupt or missing.
            StorageUnavailable: a copy that may be good can't be read.
            Deleted, NotFound: a file was deleted meanwhile.
            CatalogueUnavailable: the database can't be reached.
        """
        sink = _Sink()
        with ZipFile(sink, "w", ZIP_STORED) as archive:  # type: ignore[call-overload]
            for member in self.members:
                with archive.open(self._info(member), "w", force_zip64=True) as entry:
                    async with aclosing(self._content(member)) as chunks:
                        async for chunk in chunks:
                            entry.write(chunk)
                            yield Piece(sink.taken())
        yield Piece(sink.taken())

    async def _content(self, member: Member) -> AsyncGenerator[bytes, None]:
        if member.file is None:
            yield self._texts[member.path]
            return
        opened = await self._produce.open(member.file.file_id, by=self._by)
        async with aclosing(opened.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    def _info(self, member: Member) -> ZipInfo:
        info = ZipInfo(member.path, self._at.timetuple()[:6])
        info.external_attr = 0o100644 << 16
        return info


class _Sink:
    """What a ZIP file is written to: it can't seek, and keeps bytes until they are taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: everything is in memory."""

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
