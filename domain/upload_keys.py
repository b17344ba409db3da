"""Keys of uploads: whatever ids the requests with one key give, they store one file.

An id is derived from each key (`identifiers.keyed_file_id`). A first request without an id stores its
file under the derived id, and nothing else is recorded: the file itself shows that the key is used.
A first request with an id binds the key to its file, in the transaction that makes the file visible.
So no key is ever bound to a file that was not stored.
"""

from datetime import datetime

from attrs import frozen

from traffic_storage.domain.identifiers import FileId


@frozen
class BindKey:
    """Make the file `file_id` the one of a key, unless the key has one.

    It is the only binding of the key, and stays. As part of a `CommitUnit`, it applies to the new file,
    and the unit is not stored if the key has another one. As a change of its own, it applies to a
    file that is stored.

    Attributes:
        key: the id that is derived from the key. If `file_id` is the same, nothing is recorded.
        at: when the key was used.
    """

    key: FileId
    file_id: FileId
    at: datetime

    @property
    def is_derived(self) -> bool:
        """Whether the file has the id that is derived from the key."""
        return self.file_id == self.key
