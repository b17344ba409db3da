"""What is peculiar to each adapter; what all of a port share is in tests/contracts."""
