"""What the application needs from outside, one module a port. The docstrings are the
specification: the contract suites of `traffic_storage.testing` quote them.

| module | what is in it |
|---|---|
| `blob_store` | `BlobStore`, and `BlobHead`, `BlobEntry`, `Room` |
| `ingest_journal`, `changes`, `catalogue`, `store_registry` | the narrow ports of the catalogue; `record_repo` joins them |
| `store_identity` | `StoreIdentity`: the marker in a store |
| `cache`, `images`, `spool`, `compressor`, `clock` | `Cache`, `Images`, `Spool` and its bodies, `Compressor`, `Clock` and `Ids` |
| `errors` | the errors that adapters raise, whatever their technology |

Ports are imported from these modules. The values that they take and return are in
`traffic_storage.domain`; what every store checks before it returns a byte is
`traffic_storage.domain.verification`. An adapter opens nothing when it is made, needs no running event loop for
it, and takes the time from a `Clock`.
"""
