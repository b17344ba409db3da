"""The Python interface: `StorageService` and the classes to which its methods delegate."""
