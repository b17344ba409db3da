"""Images encoded by other software: 24 × 16 pixels of a colour gradient."""

import base64

from attrs import frozen


@frozen
class Sample:
    """An encoded image, its content type and the number of channels after decoding."""

    data: bytes
    content_type: str
    channels: int


WIDTH, HEIGHT = 24, 16

SAMPLES = {
    "jpeg": Sample(
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxO"
            "QERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2Nj"
            "Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/wAARCAAQABgDASIAAhEBAxEB/8QAFwAAAwEAAAAA"
            "AAAAAAAAAAAAAAQFBv/EABcQAAMBAAAAAAAAAAAAAAAAAAADBGH/xAAWAQEBAQAAAAAAAAAAAAAAAAAEAgX/"
            "xAAcEQABAwUAAAAAAAAAAAAAAAAAAQMEAiEiMWH/2gAMAwEAAhEDEQA/AMsmHB9MOFdMOD6YcJocDxp3SOmH"
            "ANMmHAEI5Y3W52Oz/9k="
        ),
        "image/jpeg",
        3,
    ),
    "jpeg grey progressive": Sample(
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxO"
            "QERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/wgALCAAQABgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwQF"
            "/9oACAEBAAAAAcqh0of/xAAWEAADAAAAAAAAAAAAAAAAAAAAAQL/2gAIAQEAAQUCUCgUCgUCg//EABQQAQAA"
            "AAAAAAAAAAAAAAAAACD/2gAIAQEABj8CX//EABQQAQAAAAAAAAAAAAAAAAAAACD/2gAIAQEAAT8hX/8A/9oA"
            "CAEBAAAAEJP/xAAVEAEBAAAAAAAAAAAAAAAAAAAAYf/aAAgBAQABPxCCCCCCD//Z"
        ),
        "image/jpeg",
        1,
    ),
    "jpeg cmyk": Sample(
        base64.b64decode(
            "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpx"
            "kHNbXYW1hpCeo6utq2eAvMm6pseZqKuk/8AAFAgAEAAYBEMRAE0RAFkRAEsRAP/EABcAAQEBAQAAAAAAAAAA"
            "AAAAAAAFBAb/xAAZEAEAAgMAAAAAAAAAAAAAAAAAAwQUQWH/2gAOBEMATQBZAEsAAD8Ah1dJODxGhidMsVdG"
            "DxuhiFiroweN0MQ4+rp0eDxhhiFiroweN0MQsVdGDxuhiH//2Q=="
        ),
        "image/jpeg",
        3,
    ),
    "png palette with a transparent colour": Sample(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABgAAAAQBAMAAAD+CqKmAAAAGFBMVEWqw7Qyw2yqgJkygFGqRIGqD2wyRDky"
            "DyQFijz9AAAAAXRSTlMAQObYZgAAAE5JREFUeNptzcENgCAUg+EPZQGmdUoTJ+Dq0QkEDxzAQA8vbdL/NRwg"
            "gw0UQ2iqkQftxm5XzHtBydHZf++tcA9MnXdKbPUkI6RpZ8H8wwd3aRQ4Sr1AIwAAAABJRU5ErkJggg=="
        ),
        "image/png",
        4,
    ),
    "png grey of 16 bits": Sample(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABgAAAAQEAAAAAB53zwKAAAAHElEQVR42mNgIBEwCpCogWVUw6iGgdLA+IFE"
            "DQDuXwIHVEmX3QAAAABJRU5ErkJggg=="
        ),
        "image/png",
        1,
    ),
    "png of 1 bit": Sample(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABgAAAAQAQAAAAAkX4I4AAAAKUlEQVR42m3BMREAIAwEsPRZuWpBGv6XYoCE"
            "rxV2uNREi0PNpMmhhuABYYcFCRWswCcAAAAASUVORK5CYII="
        ),
        "image/png",
        1,
    ),
    "png grey with alpha": Sample(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABgAAAAQCAQAAACmLXceAAAARElEQVR42rXNMQoAMAhDUSVZ9P4H7iAOhZZa"
            "0OWTJTwVIQGyVlLNYpRP7j8CwBASnBZKToPwcNqEq9MsHJwRYXMGhegCMsAL6bqntIIAAAAASUVORK5CYII="
        ),
        "image/png",
        4,
    ),
    "webp": Sample(
        base64.b64decode(
            "UklGRmIAAABXRUJQVlA4IFYAAACwAwCdASoYABAAPtFapkuoJaOhsAgBABoJbACsLwAB0SuoxcDOAAD+9FN7"
            "4Z0FgstAZEza0ErfX3qU5d9TyxC3x/j4DEg1snFzd7T0xuPKPOXUdALAAA=="
        ),
        "image/webp",
        3,
    ),
    "webp lossless with alpha": Sample(
        base64.b64decode(
            "UklGRmoAAABXRUJQVlA4TF0AAAAvF8ADEB8gECBThlRIIBAgNKmz6EogQKZ8mJBBTdsGbIhK/nSEdjoPoWAV"
            "SVajlYaJLAEVSOGTGmlI4HI+CRH9nwBJ1tov5lV1F7K1KpCsGmAFkCowtsbYtq1vfwMA"
        ),
        "image/webp",
        4,
    ),
    "avif": Sample(
        base64.b64decode(
            "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGlj"
            "dAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAQQAAAChp"
            "aW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAA"
            "AAAAGAAAABAAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1h"
            "AAAAAAAAAAEAAQQBAoMEAAAASW1kYXQSAAoJGBDv7RAQ0GhAMjIZR4eGIYeeeeaFAACuttPcTYh/Khp9tH//"
            "ZuTh/vF/KfhOynRlZOTVfX8yoP//80uVDg=="
        ),
        "image/avif",
        3,
    ),
}

ANIMATIONS = {
    "webp": base64.b64decode(
        "UklGRsoAAABXRUJQVlA4WAoAAAASAAAAFwAADwAAQU5JTQYAAAAAAAAAAABBTk1GQAAAAAAAAAAAABcAAA8A"
        "AAAAAAJWUDhMKAAAAC8XwAMAD/AWvJk7zNX8hwfMtG0T/igLYec+04jof1RVVVVVfWcAAABBTk1GVgAAAAAA"
        "AAAAABcAAA8AAAAAAABWUDhMPQAAAC8XwAMQFyAQSHFC+z1zAoEUh7TN8x/QL0DIRpI2j/MUD/GVHOKI/kdV"
        "VVVVVVVVVVXVXbWnM+wDAAAAAAAA"
    ),
    "png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAABgAAAAQAQMAAAA26i3WAAAABlBMVEVzpYdzLVdjChB1AAAACGFjVEwAAAAC"
        "AAAAAPONk3AAAAAaZmNUTAAAAAAAAAAYAAAAEAAAAAAAAAAAAAAAAQAAW9IU8QAAABpJREFUeJxj/M/AwMSA"
        "FT9k+P+BgeEHA14AAMLjBNVcF+hqAAAAGmZjVEwAAAABAAAAGAAAABAAAAAAAAAAAAAAAAEAAMCh/iUAAAAh"
        "ZmRBVAAAAAJ4nGNgwAvkGRj4/zOw///P+J+BgYkBEwMAbecEPVOXkMkAAAAASUVORK5CYII="
    ),
}

UNSUPPORTED = {
    "gif": base64.b64decode(
        "R0lGODdhGAAQAIEAAHPDk3OAeKoteDItMCwAAAAAGAAQAEAIVAAHCBxIUKCAgwgTHiwYoKHDhxATFpyosOJB"
        "hwAyatzIseNEihYlfoTYMKQAgSRTYuzIsmXLjwVNIoQ5UOZMmg5tjlRZUiFBnjwX8nRJtKjRoywDAgA7"
    ),
    "text": b"no image at all",
    "nothing": b"",
    "a RIFF that is no WebP": b"RIFF\x24\x00\x00\x00WAVEfmt ",
}
