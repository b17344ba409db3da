"""Images: by Pillow."""
