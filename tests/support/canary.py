"""A secret that must never be seen again where it was given."""

CANARY = "Canary-4f1c9b7e2a6d48c0b5-never-shown"
