"""Adapters of the port `ExportTarget`: a file of this host, an object of a bucket."""
