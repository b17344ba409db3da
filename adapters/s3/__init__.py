"""What all adapters of S3 share: how a bucket is reached, and what its errors become."""
