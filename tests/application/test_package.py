"""Evidence packages: whole, verifiable anywhere, and every edit is told."""

import asyncio
import hashlib
import html
import io
import json
import subprocess
import sys
import zipfile
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.application.rig import Rig, Service, film, picture, violation_record
from traffic_storage.application.export import Exported
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import (
    IncompleteEvidence,
    InvalidInput,
    NoGoodReplica,
    NotFound,
)
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.principal import Principal
from traffic_storage.entrypoints import package_verifier as verifier
from traffic_storage.entrypoints.export_views import package_view

EVERYBODY = Principal("operator")
MEDIA = film(1, 3000)


async def fill(service: Service) -> None:
    await service.evidence(violation_record("V:1", camera_info={"place": "<b>"}), picture(), MEDIA)
    await service.json({"a": 1}, "note", metadata={"violation_id": "V:1"})
    await service.evidence(violation_record("V_1"), picture(9))


async def packed(
    service: Service, *ids: str, by: Principal = EVERYBODY, **options: Any
) -> tuple[bytes, str]:
    """The bytes of a package and the SHA-256 of its manifest."""
    package = await service.container.make_package().open(ids, by, **options)
    async with aclosing(package.pieces()) as pieces:
        data = b"".join([piece.data async for piece in pieces])
    return data, package.manifest_sha256


@pytest.fixture(scope="module")
def raw() -> tuple[bytes, str]:
    """A package of two violations, and the SHA-256 of its manifest."""

    async def make() -> tuple[bytes, str]:
        async with Rig().running() as service:
            await fill(service)
            return await packed(service, "V:1", "V_1", "V:1")

    return asyncio.run(make())


@pytest.fixture(scope="module")
def package(raw: tuple[bytes, str]) -> tuple[dict[str, bytes], str]:
    """The members of that package, and the SHA-256 of its manifest."""
    data, digest = raw
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}, digest


def findings(members: dict[str, bytes], expect: str | None) -> list[str]:
    """What the verifier finds in these members."""
    found, _, _ = verifier.checked(list(members), lambda name: io.BytesIO(members[name]), expect)
    return found


def test_a_package_has_the_media_byte_for_byte_and_all_digests(
    package: tuple[dict[str, bytes], str],
) -> None:
    members, digest = package
    assert members["violations/0001-V_1/video"] == MEDIA
    names = {Path(name).stem for name in members if name.startswith("violations/0001")}
    assert names == {"record", "image", "video", "metadata", "other-003"}
    assert "violations/0002-V_1/record.json" in members
    assert hashlib.sha256(members["manifest.json"]).hexdigest() == digest
    manifest = json.loads(members["manifest.json"])
    assert manifest["violations"] == ["V:1", "V_1"]
    assert manifest["created_by"] == "operator"
    record = json.loads(members["violations/0001-V_1/record.json"])
    assert record["camera_info"] == {"place": "<b>"}
    assert [file["file_id"] for file in record["files"]][:2] == ["V:1~image", "V:1~video"]
    assert manifest["completeness"] == {"checked": False}
    page = members["README.html"].decode()
    assert "No completeness was checked" in page
    assert "What SHA-256 is" in page
    assert "<script" not in page
    assert findings(members, digest) == findings(members, None) == []


@settings(max_examples=25, suppress_health_check=[*HealthCheck], deadline=None)
@given(data=st.data())
def test_a_byte_that_is_flipped_in_any_member_is_told(
    package: tuple[dict[str, bytes], str], data: st.DataObject
) -> None:
    members, digest = package
    name = data.draw(st.sampled_from(sorted(members)))
    place = data.draw(st.integers(0, len(members[name]) - 1))
    flipped = bytearray(members[name])
    flipped[place] ^= data.draw(st.integers(1, 255))
    edited = members | {name: bytes(flipped)}
    for expect in (digest, None):
        try:
            assert findings(edited, expect)
        except (ValueError, KeyError, TypeError):
            assert name == "manifest.json"


def test_a_missing_an_added_and_a_doubled_member_are_told(
    package: tuple[dict[str, bytes], str],
) -> None:
    members, digest = package
    for name in members:
        fewer = {key: data for key, data in members.items() if key != name}
        if name == "manifest.json":
            with pytest.raises(ValueError, match="missing"):
                findings(fewer, digest)
        else:
            assert findings(fewer, digest) == [f"{name}: is missing"]
    assert findings(members | {"more": b""}, digest) == ["more: is not listed in the manifest"]
    twice = [*members, "README.html"]
    found, _, _ = verifier.checked(twice, lambda name: io.BytesIO(members[name]), None)
    assert found == ["README.html: is there more than once"]


def test_only_the_expected_digest_tells_an_exchange_of_everything(
    package: tuple[dict[str, bytes], str],
) -> None:
    members, digest = package
    forged: dict[str, Any] = json.loads(members["manifest.json"])
    forged["created_by"] = "somebody else"
    text = verifier.canonical(forged)
    listed = {entry["path"]: entry for entry in forged["members"]}
    sums = verifier.sums(listed, hashlib.sha256(text).hexdigest())
    exchanged = members | {"manifest.json": text, "SHA256SUMS": sums}
    assert findings(exchanged, None) == []
    assert len(findings(exchanged, digest)) == 1


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_the_verifier_of_the_package_runs_alone(
    package: tuple[dict[str, bytes], str], tmp_path: Path
) -> None:
    """`python -I` knows no library but Python's own."""
    members, digest = package
    program = tmp_path / "verify.py"
    program.write_bytes(members["verify.py"])
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    write_zip(good, members)
    name = "violations/0001-V_1/video"
    write_zip(bad, members | {name: MEDIA[:-1] + b"x"})
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(good) as archive:
        archive.extractall(unpacked)

    def run(*arguments: Any, verify: Path = program) -> tuple[int, str]:
        command = [sys.executable, "-I", verify, *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        return ran.returncode, ran.stdout

    assert run(good, "--expect", digest) == (
        0,
        (
            f"SHA-256 of manifest.json: {digest}\n"
            f"VERIFIED: {len(members) - 2} files are as the manifest lists them\n"
        ),
    )
    code, out = run(bad)
    assert code == 1
    assert f"ALTERED: {name}: its SHA-256 is" in out
    assert run(verify=unpacked / "verify.py")[0] == 0
    (unpacked / name).write_bytes(b"")
    assert run(verify=unpacked / "verify.py")[0] == 1
    assert run(good, "--expect", "0" * 64)[0] == 1
    good.write_bytes(b"no archive")
    assert run(good)[0] == 2
    sums = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=unpacked, check=False, capture_output=True, text=True
    )
    assert sums.stdout.count(": FAILED") == 1


def test_bytes_that_belong_to_no_member_are_told(raw: tuple[bytes, str], tmp_path: Path) -> None:
    data, digest = raw
    file = tmp_path / "package.zip"
    file.write_bytes(data)
    assert verifier.check(str(file), digest)[0] == []
    with zipfile.ZipFile(file) as archive:
        second = sorted(one.header_offset for one in archive.infolist())[1]
    for edited in (b"MZ" + data, data + b"JUNK", data[:-2] + b"\4\0JUNK"):
        file.write_bytes(edited)
        found = verifier.check(str(file), digest)[0]
        assert any("belong to no file" in one for one in found), edited[:4]
    # Between members: the offsets in the directory are moved, as whoever hides something would.
    hidden = bytearray(data[:second] + b"x" * 9 + data[second:])
    directory = hidden.rindex(b"PK\x05\x06")
    start = int.from_bytes(hidden[directory + 16 : directory + 20], "little") + 9
    hidden[directory + 16 : directory + 20] = start.to_bytes(4, "little")
    at = start
    while hidden[at : at + 4] == b"PK\x01\x02":
        offset = int.from_bytes(hidden[at + 42 : at + 46], "little")
        if offset >= second:
            hidden[at + 42 : at + 46] = (offset + 9).to_bytes(4, "little")
        at += 46 + sum(
            int.from_bytes(hidden[at + place : at + place + 2], "little") for place in (28, 30, 32)
        )
    file.write_bytes(hidden)
    assert "belong to no file" in verifier.check(str(file), digest)[0][0]


async def test_each_file_is_recorded_as_handed_out_and_a_bad_copy_stops_the_package() -> None:
    rig = Rig()
    async with rig.running() as service:
        await fill(service)
        await packed(service, "V:1")
        events = [one.event for one in await rig.repo.events(limit=1000)]
        produced = [one.file_id for one in events if one.kind is EventKind.PRODUCED]
        assert sorted(map(str, produced)) == ["V:1~image", "V:1~metadata", "V:1~video", "note"]
        key = next(
            one.key
            for one in rig.files[FileId(str(produced[0]))].replicas
            if one.tier is Tier.LOCAL
        )
        rig.at_rest[Tier.LOCAL]._blobs.pop(key)
        with pytest.raises(NoGoodReplica):
            await packed(service, "V:1")


async def test_what_can_not_be_packed_is_named() -> None:
    async with Rig().running() as service:
        await fill(service)
        stranger = Principal("camera", devices=("other-*",))
        for ids, by, error in (
            ((), EVERYBODY, InvalidInput),
            ([f"V{number}" for number in range(1001)], EVERYBODY, InvalidInput),
            (("V:1", "V9"), EVERYBODY, NotFound),
            (("V:1",), stranger, NotFound),
        ):
            with pytest.raises(error):
                await packed(service, *ids, by=by)
        await service.container.delete_files().violation("V_1", "a test", "me", override=True)
        with pytest.raises(Deleted):
            await packed(service, "V_1")


def test_the_page_names_the_time_in_utc(package: tuple[dict[str, bytes], str]) -> None:
    at = datetime.fromisoformat(json.loads(package[0]["manifest.json"])["created_at"])
    assert at.astimezone(UTC).isoformat() in package[0]["README.html"].decode()


PROFILES = """
[[profiles]]
profile_id = "own-speed"
violation_type = "speed"
jurisdiction = "ES"
legal_source = "a law <of 2026>"
images = 2
fields = ["camera_info.place"]
"""


async def test_a_violation_that_does_not_meet_its_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(PROFILES)
    async with Rig(profiles_file=file, evidence_profile="own-speed").running() as service:
        await fill(service)
        frame = {"violation_id": "V:1"}
        with pytest.raises(IncompleteEvidence) as refused:
            await packed(service, "V:1", "V_1")
        assert [problem.field for problem in refused.value.problems] == [
            *("V:1.files.image", "V_1.files.image", "V_1.camera_info.place"),
        ]
        assert "V_1.camera_info.place: is not given" in str(refused.value)
        await service.image(picture(5), "second", **frame)
        data, _ = await packed(service, "V:1")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            manifest, page = archive.read("manifest.json"), archive.read("README.html").decode()
        found = json.loads(manifest)["completeness"]
        assert (found["checked"], found["complete"], found["missing"]) == (True, True, [])
        assert found["profiles"][0]["images"] == 2
        assert "own-speed" in page
        assert "a law &lt;of 2026&gt;" in page
        assert "Nothing that they demand is missing" in page
        with pytest.raises(IncompleteEvidence, match="for which no profile is chosen"):
            await packed(service, "V:1", profile="example-de-red-light")


@pytest.mark.parametrize(
    ("role", "state"),
    [
        *((role, "tombstoned") for role in ("image", "video", "note")),
        *((role, "purging") for role in ("image", "note")),
        *((role, "purged") for role in ("image", "note")),
    ],
)
@pytest.mark.parametrize("profile", [None, "own-speed"])
async def test_deleted_media_are_missing_with_time_and_reason(
    tmp_path: Path, role: str, state: str, profile: str | None
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(PROFILES)
    grace = 0 if state == "purging" else 7
    rig = Rig(profiles_file=profiles, deletion_grace_days=grace)
    async with rig.running() as service:
        await fill(service)
        # The note is none of its own files, but names the violation.
        file_id = FileId(role if role == "note" else f"V:1~{role}")
        at = rig.clock.now()
        delete = service.container.delete_files()
        if state == "purging":
            rig.local.go_down()
        await delete.file(file_id, "<wrong car>", "clerk", override=True)
        rig.local.come_back()
        if state == "purged":
            rig.clock.advance(timedelta(days=grace))
            at = rig.clock.now()
            await service.container.purge().due()
        with pytest.raises(IncompleteEvidence, match=f"{file_id}' is {state}") as refused:
            await packed(service, "V_1", "V:1", profile=profile)
        assert refused.value.problems[0].field == f"V:1.files.{role}"
        package = await service.container.make_package().open(
            ("V_1", "V:1"), EVERYBODY, profile=profile, allow_incomplete=True
        )
        data, digest = await packed(service, "V_1", "V:1", profile=profile, allow_incomplete=True)
    said = f"the file '{file_id}' is {state} since {at.isoformat()}: <wrong car>"
    view = package_view(Exported("evidence.zip", 0, len(data), sha256_of(data)), package)
    assert (view["complete"], view["missing"][0]) == (False, f"V:1.files.{role}: {said}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert findings(members, digest) == []
    found = json.loads(members["manifest.json"])["completeness"]
    assert (found["checked"], found["complete"]) == (profile is not None, False)
    assert found["missing"][0]["message"] == said
    page = members["README.html"].decode()
    assert html.escape(said) in page
    assert "This package is incomplete" in page
    assert ("No completeness was checked" in page) == (profile is None)


async def test_a_deleted_file_of_another_device_is_named_to_those_who_may_see_it() -> None:
    async with Rig().running() as service:
        await fill(service)
        labels = {"violation_id": "V:1", "device_id": "other-1"}
        await service.json({"a": 2}, "elsewhere", metadata=labels)
        await service.container.delete_files().file("elsewhere", "why", "clerk", override=True)
        with pytest.raises(IncompleteEvidence) as refused:
            await packed(service, "V:1")
        assert [one.field for one in refused.value.problems] == ["V:1.files.elsewhere"]
        camera = Principal("camera", devices=(violation_record("V:1").device_id,))
        assert (await packed(service, "V:1", by=camera))[0]


async def test_an_incomplete_package_says_what_is_missing() -> None:
    async with Rig().running() as service:
        await fill(service)
        data, digest = await packed(
            service, "V:1", profile="example-es-speed", allow_incomplete=True
        )
        with pytest.raises(InvalidInput, match="profile: is unknown"):
            await packed(service, "V:1", profile="example-es")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert findings(members, digest) == []
    found = json.loads(members["manifest.json"])["completeness"]
    assert found["complete"] is False
    assert found["profiles"][0]["example"] is True
    page = members["README.html"].decode()
    assert "This package is incomplete" in page
    assert "agreed with no authority" in page
    fields = {item["field"] for item in found["missing"] if item["violation_id"] == "V:1"}
    assert "camera_info.certificate" in fields
    assert all(f"<code>{field}</code>" in page for field in fields)
