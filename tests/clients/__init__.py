"""Real clients of the HTTP service: a browser and programs that download and play."""
