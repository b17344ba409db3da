"""What the system does, in terms of ports: use cases that decide or order something."""
