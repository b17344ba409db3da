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
    "bmp": Sample(
        base64.b64decode(
            "Qk22BAAAAAAAADYAAAAoAAAAGAAAABAAAAABABgAAAAAAIAEAADEDgAAxA4AAAAAAAAAAAAAWgDwYArwZhTw"
            "bB7wcijweDLwfjzwhEbwilDwkFrwlmTwnG7wonjwqILwrozwtJbwuqDwwKrwxrTwzL7w0sjw2NLw3tzw5Obw"
            "VADgWgrgYBTgZh7gbCjgcjLgeDzgfkbghFDgilrgkGTglm7gnHjgooLgqIzgrpbgtKDguqrgwLTgxr7gzMjg"
            "0tLg2Nzg3ubgTgDQVArQWhTQYB7QZijQbDLQcjzQeEbQflDQhFrQimTQkG7QlnjQnILQoozQqJbQrqDQtKrQ"
            "urTQwL7QxsjQzNLQ0tzQ2ObQSADATgrAVBTAWh7AYCjAZjLAbDzAckbAeFDAflrAhGTAim7AkHjAloLAnIzA"
            "opbAqKDArqrAtLTAur7AwMjAxtLAzNzA0ubAQgCwSAqwThSwVB6wWiiwYDKwZjywbEawclCweFqwfmSwhG6w"
            "iniwkIKwloywnJawoqCwqKqwrrSwtL6wusiwwNKwxtywzOawPACgQgqgSBSgTh6gVCigWjKgYDygZkagbFCg"
            "clqgeGSgfm6ghHigioKgkIyglpagnKCgoqqgqLSgrr6gtMigutKgwNygxuagNgCQPAqQQhSQSB6QTiiQVDKQ"
            "WjyQYEaQZlCQbFqQcmSQeG6QfniQhIKQioyQkJaQlqCQnKqQorSQqL6QrsiQtNKQutyQwOaQMACANgqAPBSA"
            "Qh6ASCiATjKAVDyAWkaAYFCAZlqAbGSAcm6AeHiAfoKAhIyAipaAkKCAlqqAnLSAor6AqMiArtKAtNyAuuaA"
            "KgBwMApwNhRwPB5wQihwSDJwTjxwVEZwWlBwYFpwZmRwbG5wcnhweIJwfoxwhJZwiqBwkKpwlrRwnL5woshw"
            "qNJwrtxwtOZwJABgKgpgMBRgNh5gPChgQjJgSDxgTkZgVFBgWlpgYGRgZm5gbHhgcoJgeIxgfpZghKBgiqpg"
            "kLRglr5gnMhgotJgqNxgruZgHgBQJApQKhRQMB5QNihQPDJQQjxQSEZQTlBQVFpQWmRQYG5QZnhQbIJQcoxQ"
            "eJZQfqBQhKpQirRQkL5QlshQnNJQotxQqOZQGABAHgpAJBRAKh5AMChANjJAPDxAQkZASFBATlpAVGRAWm5A"
            "YHhAZoJAbIxAcpZAeKBAfqpAhLRAir5AkMhAltJAnNxAouZAEgAwGAowHhQwJB4wKigwMDIwNjwwPEYwQlAw"
            "SFowTmQwVG4wWngwYIIwZowwbJYwcqAweKowfrQwhL4wisgwkNIwltwwnOYwDAAgEgogGBQgHh4gJCggKjIg"
            "MDwgNkYgPFAgQlogSGQgTm4gVHggWoIgYIwgZpYgbKAgcqogeLQgfr4ghMggitIgkNwgluYgBgAQDAoQEhQQ"
            "GB4QHigQJDIQKjwQMEYQNlAQPFoQQmQQSG4QTngQVIIQWowQYJYQZqAQbKoQcrQQeL4QfsgQhNIQitwQkOYQ"
            "AAAABgoADBQAEh4AGCgAHjIAJDwAKkYAMFAANloAPGQAQm4ASHgAToIAVIwAWpYAYKAAZqoAbLQAcr4AeMgA"
            "ftIAhNwAiuYA"
        ),
        "image/bmp",
        3,
    ),
    "bmp of runs": Sample(
        base64.b64decode(
            "Qk3eAQAAAAAAAHYAAAAoAAAAGAAAABAAAAABAAgAAQAAAGgBAAAAAAAAAAAAABAAAAAAAAAAAP8AABDvEAAg"
            "3yAAMM8wAEC/QABQr1AAYJ9gAHCPcACAf4AAkG+QAKBfoACwT7AAwD/AANAv0ADgH+AA8A/wAAMFAgYCBwMI"
            "AgkDCgILAwwCDQIOAAABBAIFAwYCBwMIAgkDCgILAgwDDQEOAAACBAIFAwYCBwMIAgkCCgMLAgwDDQAAAwQC"
            "BQMGAgcCCAMJAgoDCwIMAg0AAAEDAgQDBQIGAwcCCAMJAgoDCwIMAQ0AAAIDAgQDBQIGAwcCCAIJAwoCCwMM"
            "AAADAwIEAwUCBgIHAwgCCQMKAgsCDAAAAQIDAwIEAgUDBgIHAwgCCQMKAgsBDAAAAgICAwMEAgUDBgIHAwgC"
            "CQIKAwsAAAMCAgMDBAIFAwYCBwIIAwkCCgILAAABAQMCAgMCBAMFAgYDBwIIAwkCCgELAAACAQICAwMCBAMF"
            "AgYDBwIIAgkDCgAAAwECAgMDAgQDBQIGAgcDCAIJAgoAAAEAAwECAgMDAgQCBQMGAgcDCAIJAQoAAAIAAgED"
            "AgIDAwQCBQMGAgcDCAIJAAADAAIBAwICAwMEAgUDBgIHAggCCQ=="
        ),
        "image/bmp",
        3,
    ),
    "tiff": Sample(
        base64.b64decode(
            "SUkqAJYDAAB4nA3MIYu0TAAA4ElvkAtyGC6JYYNsGgybJsgGMckE06QJYhIR0yQRMYlh0iTDsGkxLAbTBpl0"
            "GC6I6YK8GD7M/oT3e37AAwAA2h9gfADzE9hfwDEBugDvCjAE5AYiBNI7YD6oAtCGQBAgKehjMCZgysHMwFqA"
            "rQZHo4M/uvahG5+6+aXbpu5cdHTVPajjm06QHt311NdZoFeh3hJdUF3Gep/oY65PTJ8Lfa31rdEPboEPS/u0"
            "jC/LNC37YjlXC0HLu1kYWeRuRb6VBhYLrYpYLbVEbMnE6nNrZNZUWHNtrY21cesQEHxC7QsaJjQv0L5CB0J0"
            "gx6C+A6JD6MApiFkBFYUtjEUCZQ57BkcCzjVcG7gyuEm4NG54MvVTNe4uObVtaHr3FyEXO/uYt8lgRuFbkpc"
            "Rt0qdtvEFbkrmdsX7li7U+PO3F2Fu3Xu8cDAxNoFG1dsQmzfsIMwumPPxzjAJMQRwSnFLMZVgtscC4Zlgfsa"
            "jw2eOJ4FXju8PfDxpOBCtSs1IDVv1EbUuVPkUy+gOKSE0IjSNKYsoVVOW0ZFQWVN+4aOnE6Czh1dH3R70uOV"
            "gWumwcy4ZSbK7Hvm+BkKMi/MMMkIzaI4S5OM5VnFsrbIRJ3JJut5Nops6rL5ka3PbHtlx1gCWGq30kCleS9t"
            "v3SCEoWlR0pMSxKXUVKmeclYWRVlW5eiKSUve1GOXTk9yvlZrq9yG8vjzcGNa4gbd2763A64E3JEuEc5jjlJ"
            "eJTzlHFW8KrmbcMF51LwvuPjg09PPr/4OvLtzQ8lAZLaXRq+NANph9IhElHpxRInkuQyYjItJKtl1cj2/0NI"
            "2cn+IcennF5yHuX6lpuSx/cA7oPmD0YwmOFgk8GhA4oHLxlwPhA2RMWQ1gNrhooPrRhEN8jH0D+H8TVM4zC/"
            "h1UN2/dw/CjgKy1QRqhMomyqnFihRHm5wkyRQkW1ShvFuKqEajslHko+Vf9S46imt5qVWr/V9qOOdQHBooWL"
            "QRaTLna8OMmC8sVjCy4WUi9Rs6R8YWKpuqV9LOK5yNfSj8v4Xia1zN/L+rNs63L87iDcNbIbdDfj3U52J98R"
            "271ix/VOmj3ieyp21u3VY2+fu3jtctz79z6qffre5599Xfftdz/+noCcGj2N+DST085Ph52oOL36xM1J+BmJ"
            "M+1O9jir59m+TjGe8n326hy/z+nnnNdz/T23v+fx3z93+AufCgAAAQMAAQAAABgAAAABAQMAAQAAABAAAAAC"
            "AQMAAwAAABQEAAADAQMAAQAAAAgAAAAGAQMAAQAAAAIAAAARAQQAAQAAAAgAAAAVAQMAAQAAAAMAAAAWAQMA"
            "AQAAABAAAAAXAQQAAQAAAI4DAAAcAQMAAQAAAAEAAAAAAAAACAAIAAgA"
        ),
        "image/tiff",
        3,
    ),
    "tiff grey of 16 bits": Sample(
        base64.b64decode(
            "SUkqAF4CAACAAAALACGAEhAHMAJHALiAONAQIASjAVOAXJAZkAcPAeKAglAjAAlrAnmAqBAssAunAxCAztA1"
            "tADoAGDAIuAKpANEAPvARqAUFAWgAZLAbGAdhAgMAiHAkiAnNApIArjAuOAwJAykA1PA3KA5qAHlAKAAMrAO"
            "mARBATsAVnAYCAatAcoAfDAhuAjpAmEAovAqqAtFAvgAyLA0GA2hA5MA7HA9wyHRCJRSLRiNRyPSCRSSTSiV"
            "SyXTBAXA6uA8pA/EBBzyfUChUSjUilUynVCpVSrVitVyvWAoHgAH1YIEwIYIIu2W64XK6Xa8Xq+X7AYLCYbE"
            "YrGY7IRFoIRAIkYI5wJLLxmNx2PyGRyWTymVy2XmvSjDT6nVoN4IdQIwoEiABLFgTTZqSpamqeqKpqqq6sq2"
            "rqvjm4LhuK47kmAR44EoEBMmgTpAFE6C8r2vq/sCwbCsOxLFsax49u88DxPISRIEuIBOHgUBQFKKBVM49rPv"
            "g0T5vq+7VNY/b+v/AMBjAT4IFIYBUDgVoQFk3EFt3BzfQjCbiOM5BFwxDUOQ9EAYFOcBVkgWAgFqeBcurFDs"
            "RW7cXRg8LxvLGsbxzHcegAV5YFmMBcAgXpgGC0L5NI0zUSO/T+P9AEBE1J0oSlKkrGgWxAF2GBgHAYhIGS3s"
            "IOA4UvwtMUMw3DsPlFNE1TZN04FAXwoGGABkFgZgwGi7UWu6QDvzzGc+RxHUeFVQNB0LQ9EjgYwQGWaBnkAa"
            "gYGy+1HvzJNJyZS0nyjKcqllTlPVBUVSCAZx4GkUBrigbgAHCgIACQAAAQMAAQAAABgAAAABAQMAAQAAABAA"
            "AAACAQMAAQAAABAAAAADAQMAAQAAAAUAAAAGAQMAAQAAAAEAAAARAQQAAQAAAAgAAAAWAQMAAQAAABAAAAAX"
            "AQQAAQAAAFUCAAAcAQMAAQAAAAEAAAAAAAAA"
        ),
        "image/tiff",
        1,
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
