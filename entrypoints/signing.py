"""The key that signs access URLs: from the settings, or from a key file created at first use."""

import os
import secrets
from functools import cache
from pathlib import Path

from traffic_storage.adapters.files.owners import give_new, make_folder
from traffic_storage.domain.access import MIN_KEY_BYTES
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.settings import StorageConfig

KEY_FILE = "signing.key"


class SigningKey:
    """Returns the key that signs access URLs; reads or creates it on the first call and caches it.

    If several hosts serve one store, set `url_signing_key` to the same value on all of them.
    """

    def __init__(self, settings: StorageConfig) -> None:
        self._read = cache(lambda: _key(settings))

    def __call__(self) -> bytes:
        """Return the key that signs access URLs; it has at least 32 bytes.

        Raises:
            ConfigurationError: the key file can't be read or created, or its key is too short.
        """
        return self._read()


def _key(settings: StorageConfig) -> bytes:
    if settings.url_signing_key is not None:
        return settings.url_signing_key.reveal().encode()
    path = settings.local_base_path / KEY_FILE
    try:
        if not path.exists():
            _make(path)
        if not path.is_file():  # Reading a pipe would block.
            raise _unusable(path, "it is not a regular file")
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    if len(key) < MIN_KEY_BYTES:
        raise _unusable(path, f"its key is shorter than {MIN_KEY_BYTES} bytes")
    return key


def _make(path: Path) -> None:
    """Write a new key to a temporary file and link it to `path`.

    If several processes create a key at once, the first link stays and all use its key.
    """
    make_folder(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(MIN_KEY_BYTES).hex().encode())
        give_new(descriptor, draft)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _unusable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError.of(
        "url_signing_key",
        f"the key file {path} can't be used: {why}",
        "make its folder writable, delete the key file if it is damaged, or set url_signing_key",
    )
