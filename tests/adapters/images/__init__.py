"""The encoders and decoders of images."""
