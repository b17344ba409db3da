"""The house itself: its layout, its build, its rules and its pins."""
