"""The quality of images, videos and records: metrics, checks, a score whose parts are shown."""
