"""`traffic-storage completion`."""

from typing import Literal

from traffic_storage.entrypoints.cli.output import say


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script with which a shell completes commands and options.

    For bash: traffic-storage completion bash > ~/.local/share/bash-completion/completions/traffic-storage

    Parameters
    ----------
    shell:
        The shell that the script is for.
    """
    from traffic_storage.entrypoints.cli.app import build

    say(build().meta.generate_completion(prog_name="traffic-storage", shell=shell))
