"""Services of somebody else's that embed Traffic Storage."""
