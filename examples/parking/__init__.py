"""A parking-control service that embeds Traffic Storage."""
