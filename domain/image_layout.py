"""How the array of an image is laid out: its dimensions, and the order of its channels.

`domain.pixels` has the arrays themselves. What only describes images need not load numpy.
"""

from enum import StrEnum

from attrs import frozen


class ChannelOrder(StrEnum):
    """The order of the colour channels of an array; alpha, if any, is last."""

    RGB = "RGB"
    BGR = "BGR"


@frozen
class Dimensions:
    """Width and height in pixels, and channels: 1 (grey), 3 or 4 (with alpha)."""

    width: int
    height: int
    channels: int
