"""The system in a process of one's own: `StorageService`, and the facades that it delegates to."""
