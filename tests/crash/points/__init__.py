"""SIGKILL at each fault point of each kind of job and of each operation that has several steps."""
