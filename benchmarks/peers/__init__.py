"""What users would build or pick instead: FastAPI by hand, Django, SeaweedFS' filer, a script."""
