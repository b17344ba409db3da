"""Images: by Pillow, or plain PNG without any library."""
