"""Access control: API keys and their principals, local use, and the access of each route."""
