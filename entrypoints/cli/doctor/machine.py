"""Checks of this machine: settings, access, clock, signing key, folder, free space."""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.amounts import in_bytes
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.cli.doctor.finding import Finding, noted, ok, problem
from traffic_storage.entrypoints.cli.doctor.folders import owner_of_key
from traffic_storage.entrypoints.extras import lacking
from traffic_storage.entrypoints.http.security.authentication import access_policy
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.settings.config import SECRETS
from traffic_storage.entrypoints.settings.profiles_file import configured_profiles
from traffic_storage.entrypoints.signing import KEY_FILE

_SLOW_FLUSH_SECONDS = 0.1
_FEW_INODES = 10_000
_MAKE_OWNER = "make the user that runs the service its owner, or choose another local_base_path"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_BUILT = datetime(2025, 1, 1, tzinfo=UTC)


def settings_file(file: Path | None, settings: StorageConfig) -> Finding:
    """Check that other users can't read secrets in the settings file."""
    if file is None:
        return noted(
            "settings",
            "this user has no home folder with a settings file: environment variables apply",
        )
    try:
        is_there = file.exists()
    except PermissionError:
        return noted(
            "settings",
            f"{file} can't be seen by this user: defaults and environment variables apply",
            "set HOME to the home of this user, or name a settings file by TRAFFIC_STORAGE_CONFIG",
        )
    if not is_there:
        return noted("settings", f"no file at {file}: defaults and environment variables apply")
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & _OTHERS and _holds_secret(file.read_text("utf-8-sig")):
        return problem(
            "settings",
            f"{file} holds secrets, and other users can read it (mode {mode:04o})",
            f"chmod 600 {file}",
        )
    return ok("settings", f"{file}, strategy {settings.effective_strategy()}")


def secret_files(settings: StorageConfig) -> Iterator[Finding]:
    """Check that other users can't read the files that settings such as `db_password_file` name."""
    files = {f"{name}_file": getattr(getattr(settings, name), "file", None) for name in SECRETS}
    for name, file in {**files, "db_key_file": settings.db_key_file}.items():
        if file is None:
            continue
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError as error:
            why = f"{file}, named by {name}, can't be read: {error.strerror}"
            yield problem("secrets", why, "make the file readable")
            continue
        if mode & _OTHERS:
            yield problem(
                "secrets",
                f"other users can read {file}, which {name} names (mode {mode:04o})",
                f"chmod 600 {file}",
            )
        else:
            yield ok("secrets", f"{file}, mode {mode:04o}")


def admission(settings: StorageConfig) -> Finding:
    """Check who can use the HTTP interface."""
    try:
        policy = access_policy(settings, SystemClock().now)
    except ConfigurationError as error:
        return problem("access", error.message, error.remedy)
    if settings.open_access:
        return problem(
            "access",
            "everybody who can connect to the service can read and write evidence (open_access)",
            "unless this is intended, set api_keys (traffic-storage keys new) instead of open_access",
        )
    return ok("access", policy.summary)


def snapshots(settings: StorageConfig) -> Finding:
    """Check that snapshots are not lost with the disk that they are a copy of."""
    if settings.snapshots_beside_evidence:
        return noted(
            "snapshots",
            f"would be in {settings.snapshot_folder}, below local_base_path: lost with its disk",
            "set snapshot_location to a folder of another disk, or to s3://BUCKET",
        )
    return ok("snapshots", f"are in {settings.snapshot_bucket or settings.snapshot_folder}")


def profiles(settings: StorageConfig) -> Finding:
    """Check the completeness profiles that gate evidence packages."""
    try:
        found = configured_profiles(settings)
    except ConfigurationError as error:
        return problem("profiles", error.message, error.remedy or "correct the file")
    if found.default is None:
        return noted("profiles", "no evidence_profile is set: packages are not checked by one")
    return ok("profiles", ", ".join(one.profile_id for one in found.default.profiles))


def extras(settings: StorageConfig) -> Iterator[Finding]:
    """Check that what the settings need is installed."""
    for one in lacking(settings):
        tell = problem if one.is_refused else noted
        yield tell("extras", f"{one.setting}: {one.effect}", one.remedy)


def clock() -> Finding:
    """Check that the clock of this machine is not earlier than the release of this version."""
    now = datetime.now(UTC)
    if now < _BUILT:
        return problem(
            "clock",
            f"the clock shows {now:%Y-%m-%d}, a date before the release of this version",
            "set the clock (NTP)",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def signing_key(settings: StorageConfig) -> Finding:
    """Check that other users can't read the key that signs access URLs."""
    if settings.url_signing_key is not None:
        return ok("signing key", "the setting url_signing_key")
    file = settings.local_base_path / KEY_FILE
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        foreign = owner_of_key(file)
    except FileNotFoundError:
        return noted(
            "signing key", f"{file} does not exist yet: it is created with the first access URL"
        )
    except OSError as error:
        return problem("signing key", f"{file} can't be read: {error.strerror}", _MAKE_OWNER)
    if foreign:
        return problem(
            "signing key", foreign, f"remove {file} unless you put it there; existing links end"
        )
    if mode & _OTHERS:
        return problem(
            "signing key",
            f"other users can read {file} (mode {mode:04o})",
            f"chmod 600 {file}; if it may have been read, remove it: existing links become invalid",
        )
    return ok("signing key", f"{file}, mode {mode:04o}")


def base_path(settings: StorageConfig) -> Iterator[Finding]:
    """Check that local_base_path can be written durably, and how much space is free there."""
    base = settings.local_base_path
    try:
        if not base.exists():
            yield _absent(base)
            return
        yield _written(base)
    except OSError as error:
        # What is no folder has no dot.
        if not os.access(f"{base}/.", os.R_OK | os.X_OK):
            yield problem("folder", f"{base} can't be used: {error.strerror}", _MAKE_OWNER)
            return
        yield problem(
            "folder",
            f"{base} can be read but not written: {error.strerror}",
            f"to read it, as a copy, nothing is needed; to store, mount it writable, and {_MAKE_OWNER}",
        )
        return
    yield _free_space(base, settings)


def environment(env: Mapping[str, str]) -> Finding:
    """Return a finding that names the environment variables that give settings."""
    names = sorted(name for name in env if name.startswith("TRAFFIC_STORAGE_"))
    return ok("environment", ", ".join(names) or "no variable gives a setting")


def _holds_secret(text: str) -> bool:
    lines = [line.split("=", 1)[0].strip() for line in text.splitlines()]
    return not set(SECRETS).isdisjoint(lines)


def _absent(base: Path) -> Finding:
    parent = next(folder for folder in base.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        return problem(
            "folder",
            f"{base} does not exist and can't be created in {parent}",
            "create it for the user that runs the service, or choose another local_base_path",
        )
    return noted("folder", f"{base} does not exist yet: it is created at first use")


def _written(base: Path) -> Finding:
    """Check that a file can be written as blobs are: with fsync and an extended attribute."""
    probe = base / f".doctor-{os.getpid()}"
    with ExitStack() as undo:
        file = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        undo.callback(probe.unlink)
        undo.callback(os.close, file)
        os.write(file, b"doctor")
        begun = time.monotonic()
        os.fsync(file)
        folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        undo.callback(os.close, folder)
        os.fsync(folder)
        seconds = time.monotonic() - begun
        attributes = _supports_attributes(file)
    if seconds > _SLOW_FLUSH_SECONDS:
        return noted(
            "folder",
            f"{base} can be written, but flushing took {seconds * 1000:.0f} ms",
            "a disk with faster flushes makes storing faster",
        )
    if not attributes:
        return noted("folder", f"{base} can be written; its file system has no extended attributes")
    return ok("folder", f"{base} can be written and flushed ({seconds * 1000:.1f} ms)")


def _supports_attributes(file: int) -> bool:
    try:
        os.setxattr(file, "user.traffic_storage_doctor", b"1")
    except OSError:
        return False
    return True


def _free_space(base: Path, settings: StorageConfig) -> Finding:
    medium = os.statvfs(base)
    free = medium.f_bavail * medium.f_frsize
    if free <= settings.local_reserve_bytes:
        return problem(
            "free space",
            f"only {in_bytes(free)} are free at {base}, not more than local_reserve_gb",
            "free space, or move local_base_path to a larger disk",
        )
    if medium.f_files and medium.f_favail < _FEW_INODES:
        return problem(
            "free space", f"inodes free at {base}: only {medium.f_favail}", "remove small files"
        )
    if free < settings.max_local_bytes:
        return noted(
            "free space", f"{in_bytes(free)} are free, less than the limit max_local_size_gb"
        )
    return ok("free space", f"{in_bytes(free)} are free")
