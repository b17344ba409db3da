"""`traffic-storage config`: shows the settings, their sources, the path of the settings file."""

import json as json_text

from attrs import asdict
from cyclopts import App

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.cli.output import say, say_json, say_table
from traffic_storage.entrypoints.cli.session import AsJson, Shared

_REFERENCE = """# Settings

`traffic-storage config reference` prints this page.

| setting | must be | default | what it is for |
|---|---|---|---|"""

app = App(name="config", help="Show the settings and where they come from.")


@app.command
def show(*, json: AsJson = False, session: Shared) -> None:
    """Show every setting: its value (secrets masked), where it comes from, what it is for.

    Parameters
    ----------
    json:
        Print one JSON array.
    """
    from traffic_storage.entrypoints.settings.explain import explain

    settings = explain(session.config, overrides=session.overrides())
    if json:
        say_json([asdict(setting) for setting in settings])
        return
    rows = [(line.name, _text(line.value), line.source, line.doc) for line in settings]
    say_table(("setting", "value", "from", "what it is for"), rows)


@app.command
def path(*, json: AsJson = False, session: Shared) -> None:
    """Print the path of the settings file, whether or not the file exists.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.settings.sources import FILE_VARIABLE, settings_file

    file, _ = settings_file(session.config)
    if file is None:
        raise ConfigurationError.of(
            FILE_VARIABLE,
            "is not set, and this user has no home folder",
            "set it, or give --config",
        )
    if json:
        say_json({"path": str(file), "exists": file.exists()})
    else:
        say(str(file))


@app.command
def reference() -> None:
    """Print a table of all settings in Markdown: what each must be, its default, what it is for."""
    from attrs import fields_dict

    from traffic_storage.entrypoints.settings import StorageConfig
    from traffic_storage.entrypoints.settings.config import rule_of
    from traffic_storage.entrypoints.settings.explain import shown

    say(_REFERENCE)
    for name, setting in fields_dict(StorageConfig).items():
        is_computed = name == "local_base_path"
        default = "the user's data folder" if is_computed else _text(shown(name, setting.default))
        say(f"| `{name}` | {rule_of(setting).wanted} | {default} | {setting.metadata['doc']} |")


def _text(value: Json) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(map(str, value)) or "-"
    return json_text.dumps(value, ensure_ascii=False)
