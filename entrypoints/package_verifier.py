"""Check that an evidence package is unaltered. This file needs Python 3.8 or newer, and nothing else.

    python3 verify.py PACKAGE.zip --expect SHA256
    python3 verify.py                       (in the folder into which the package was unpacked)

Exit code 0: every file has the size and the SHA-256 that the manifest lists, and nothing is missing
or added. 1: something was altered; each finding is a line. 2: the package can't be read.

Whoever alters a file can also write a new manifest. Only the SHA-256 of the manifest, handed over on
another way than the package, tells that: give it with --expect.
"""

import argparse
import hashlib
import json
import os
import struct
import sys
import zipfile
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SCHEMA = "traffic-storage/evidence-package/1"

Open = Callable[[str], IO[bytes]]


def main(arguments: Optional[List[str]] = None) -> int:
    """Check the package that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Check that an evidence package is unaltered.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("package", nargs="?", default=here, help="the ZIP file, or its folder")
    parser.add_argument("--expect", metavar="SHA256", help="SHA-256 of manifest.json")
    given = parser.parse_args(arguments)
    try:
        findings, digest, count = check(given.package, given.expect)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"NOT VERIFIED: the package can't be read: {error}")
        return 2
    for finding in findings:
        print(f"ALTERED: {finding}")
    print(f"SHA-256 of {MANIFEST}: {digest}")
    if findings:
        print(f"NOT VERIFIED: {len(findings)} findings")
        return 1
    print(f"VERIFIED: {count} files are as the manifest lists them")
    if given.expect is None:
        print("Compare the SHA-256 above with the one that you got on another way (--expect):")
        print("without it, an exchange of the whole package with its manifest can't be told.")
    return 0


def check(package: str, expect: Optional[str]) -> Tuple[List[str], str, int]:
    """Return what was altered, the SHA-256 of the manifest, and the number of files listed in it."""
    if os.path.isdir(package):
        return checked(sorted(names_in(package)), lambda name: opened(package, name), expect)
    with zipfile.ZipFile(package) as archive:
        findings, digest, count = checked(archive.namelist(), archive.open, expect)
        return [*findings, *strays(package, archive)], digest, count


def strays(package: str, archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield where a ZIP file has bytes that belong to no member."""
    ends = {0}
    with open(package, "rb") as file:
        for member in sorted(archive.infolist(), key=lambda one: one.header_offset):
            if member.header_offset not in ends:
                yield f"before {member.filename}: there are bytes that belong to no file"
            if member.comment:
                yield f"{member.filename}: has a comment"
            file.seek(member.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))
            end = member.header_offset + 30 + sum(lengths) + member.compress_size
            # Behind the data, its CRC-32 and sizes may follow, in one of four forms.
            ends = {end + more for more in (0, 12, 16, 20, 24)}
        if archive.start_dir not in ends:
            yield "behind the last file: there are bytes that belong to no file"
        file.seek(-22, os.SEEK_END)
        end_record = file.read()
    if end_record[:4] != b"PK\x05\x06" or end_record[20:] != b"\0\0":
        yield "at the end: there are bytes that belong to no file"


def checked(
    names: List[str],
    open_member: Open,
    expect: Optional[str],
) -> Tuple[List[str], str, int]:
    """Check the members of these names."""
    if MANIFEST not in names:
        raise ValueError(f"{MANIFEST} is missing")
    with open_member(MANIFEST) as file:
        text = file.read()
    digest = hashlib.sha256(text).hexdigest()
    findings = []
    if expect is not None and expect.strip().lower() != digest:
        findings.append(f"{MANIFEST}: its SHA-256 is not the expected {expect}")
    manifest = json.loads(text.decode("utf-8"))
    if manifest.get("schema") != SCHEMA or canonical(manifest) != text:
        findings.append(f"{MANIFEST}: is not a manifest as it was written")
    listed: Dict[str, Any] = {entry["path"]: entry for entry in manifest["members"]}
    findings += misplaced(names, [*listed, MANIFEST, SUMS])
    for path, entry in listed.items():
        if path in names:
            findings += altered(path, open_member, entry)
    if SUMS in names and read(open_member, SUMS) != sums(listed, digest):
        findings.append(f"{SUMS}: does not have the digests of the manifest")
    return findings, digest, len(listed)


def canonical(value: Any) -> bytes:
    """Return JSON in the form in which a manifest is written."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def misplaced(found: List[str], wanted: List[str]) -> Iterator[str]:
    """Yield which files are missing, added or there twice."""
    for name in sorted(set(wanted) - set(found)):
        yield f"{name}: is missing"
    for name in sorted(set(found) - set(wanted)):
        yield f"{name}: is not listed in the manifest"
    for name in sorted({name for name in found if found.count(name) > 1}):
        yield f"{name}: is there more than once"


def altered(path: str, open_member: Open, entry: Any) -> Iterator[str]:
    """Yield how a file differs from its entry in the manifest."""
    whole = hashlib.sha256()
    size = 0
    try:
        with open_member(path) as file:
            for data in iter(lambda: file.read(1024 * 1024), b""):
                whole.update(data)
                size += len(data)
    except (OSError, zipfile.BadZipFile) as error:
        yield f"{path}: can't be read: {error}"
        return
    if size != entry["size_bytes"]:
        yield f"{path}: has {size} bytes, not {entry['size_bytes']}"
    if whole.hexdigest() != entry["sha256"]:
        yield f"{path}: its SHA-256 is {whole.hexdigest()}, not {entry['sha256']}"


def sums(listed: Dict[str, Any], manifest_digest: str) -> bytes:
    """Return what SHA256SUMS must be."""
    lines = [f"{entry['sha256']}  {path}\n" for path, entry in listed.items()]
    return "".join([*lines, f"{manifest_digest}  {MANIFEST}\n"]).encode("utf-8")


def read(open_member: Open, name: str) -> bytes:
    """Return all bytes of a small member; none if they can't be read."""
    try:
        with open_member(name) as file:
            return file.read()
    except (OSError, zipfile.BadZipFile):
        return b""


def names_in(folder: str) -> Iterator[str]:
    """Yield the paths of the files below a folder, as a ZIP file has them."""
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")


def opened(folder: str, name: str) -> IO[bytes]:
    """Open a file below a folder."""
    return open(os.path.join(folder, *name.split("/")), "rb")


if __name__ == "__main__":
    sys.exit(main())
