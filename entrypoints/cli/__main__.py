"""`python -m traffic_storage.entrypoints.cli`."""

from traffic_storage.entrypoints.cli import main

main()
