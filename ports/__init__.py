"""The ports: the protocols that the application requires of its adapters, one module per port.

The docstrings are the specification; the contract suites of `traffic_storage.testing` quote them.

| module | contents |
|---|---|
| `blob_store` | `BlobStore`, and `BlobHead`, `BlobEntry`, `Room` |
| `ingest_journal`, `changes`, `catalogue`, `store_registry` | the narrow ports of the database; `record_repo` combines them |
| `store_identity` | `StoreIdentity`: the small identification file (marker) in each store |
| `cache`, `images`, `spool`, `compressor`, `clock` | `Cache`, `Images`, `Spool` and its bodies, `Compressor`, `Clock` and `Ids` |
| `errors` | the errors that all adapters raise |

Import ports from these modules. Their parameters and results are defined in
`traffic_storage.domain`; `traffic_storage.domain.verification` holds the checks that every store
makes before it returns a byte. The constructor of an adapter does no I/O and needs no running event
loop. An adapter takes the time from a `Clock`.
"""
