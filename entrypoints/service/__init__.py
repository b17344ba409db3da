"""The Python interface: `StorageService` and the facades to which it delegates."""
