"""The list of commands. This module imports no command, so that `--help` is fast."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command: its name, the import path of its function or sub-application, its summary."""

    name: str
    place: str
    summary: str


_HERE = "traffic_storage.entrypoints.cli"

COMMANDS = (
    Command("demo", f"{_HERE}.demo:demo", "Store and read sample evidence, then serve it."),
    Command("serve", f"{_HERE}.serve:serve", "Serve the HTTP interface."),
    Command("store", f"{_HERE}.store:store", "Store files and folders."),
    Command("get", f"{_HERE}.get:get", "Write stored files to disk or stdout, verified."),
    Command("files", f"{_HERE}.files:app", "List stored files, or show one."),
    Command("violations", f"{_HERE}.violations:app", "List violations, or show one."),
    Command("export", f"{_HERE}.export:app", "Export violations and statistics to files."),
    Command("hold", f"{_HERE}.hold:app", "Place, release and list legal holds."),
    Command("delete", f"{_HERE}.deletion:delete", "Delete a file, or a violation with its files."),
    Command("undelete", f"{_HERE}.deletion:undelete", "Bring a deleted file or violation back."),
    Command("certificate", f"{_HERE}.deletion:certificate", "Print a destruction certificate."),
    Command("stats", f"{_HERE}.stats:stats", "Show how much is stored on each tier."),
    Command("analyze", f"{_HERE}.analyze:app", "Analyse quality, storage and violations."),
    Command("url", f"{_HERE}.url:url", "Create a link to a file; the link expires."),
    Command("doctor", f"{_HERE}.doctor:doctor", "Check settings, database, stores and cache."),
    Command("sync", f"{_HERE}.sync:sync", "Make due copies, move files out of full local disk."),
    Command("verify", f"{_HERE}.verify:verify", "Verify all copies of files, and heal bad ones."),
    Command("validate", f"{_HERE}.validate:validate", "Judge images, videos and records in files."),
    Command("incidents", f"{_HERE}.incidents:app", "List and close incidents of bad copies."),
    Command("jobs", f"{_HERE}.jobs:app", "List, watch, retry and cancel jobs."),
    Command("worker", f"{_HERE}.worker:worker", "Do jobs, in a process of their own."),
    Command("reconcile", f"{_HERE}.reconcile:reconcile", "Compare the stores with the database."),
    Command("rebuild", f"{_HERE}.rebuild:rebuild", "Fill a lost or old database from the stores."),
    Command("retention", f"{_HERE}.retention:app", "Retention: rules, plans, explanations."),
    Command("cleanup", f"{_HERE}.retention:cleanup", "Remove what is no longer kept."),
    Command("snapshot", f"{_HERE}.snapshot:app", "Make, verify, restore and delete snapshots."),
    Command("archive", f"{_HERE}.snapshot:archive", "Move old files from local disk to the cloud."),
    Command("migrate", f"{_HERE}.migrate:migrate", "Bring violations to another configuration."),
    Command("migration-report", f"{_HERE}.migrate:check", "Check the report of a migration."),
    Command("seal", f"{_HERE}.seal:app", "Make a service read only, and lift that."),
    Command("keys", f"{_HERE}.keys:app", "Create and list API keys."),
    Command("config", f"{_HERE}.config:app", "Show the settings and their sources."),
    Command("db", f"{_HERE}.db:app", "Apply pending database migrations."),
    Command("completion", f"{_HERE}.completion:completion", "Print a completion script."),
    Command("version", f"{_HERE}.version:version", "Print the version."),
)

PROGRAM = "traffic-storage"
ABOUT = "Storage and data management for the evidence of traffic violations."

GLOBAL_OPTIONS = (
    ("--config FILE", "Settings file; default: TRAFFIC_STORAGE_CONFIG, then the user's own."),
    ("--base-path FOLDER", "Use this local_base_path."),
    ("--strategy NAME", "Use this strategy, such as HYBRID or LOCAL_ONLY."),
    ("--verbose, -v", "Log in detail, and show the traceback of an error."),
    ("--help, -h", "Show this help or, after a command, the help of the command."),
    ("--version", "Print the version."),
)

EXIT_CODES = (
    (0, "success"),
    (1, "failure"),
    (2, "wrong usage or input, as of an option of one command"),
    (3, "a check found problems"),
    (4, "not found, or nothing is stored here yet"),
    (5, "a service is temporarily unavailable: try again later"),
    (6, "refused: a conflict, no access, or a file that is not accepted"),
    (7, "wrong settings: a variable, a settings file, or an option of every command"),
    (130, "interrupted (Ctrl-C)"),
    (141, "the reader of the output closed the pipe"),
)


def overview() -> str:
    """Return the text of `traffic-storage --help`."""
    return "\n".join(
        [
            f"Usage: {PROGRAM} [OPTIONS] COMMAND [ARGS]",
            "",
            ABOUT,
            "",
            "Commands:",
            *_columns([(command.name, command.summary) for command in COMMANDS]),
            "",
            "Options of every command:",
            *_columns(GLOBAL_OPTIONS),
            "",
            exit_codes_help(),
            "",
            "Settings: a TOML file and TRAFFIC_STORAGE_* variables; `config show` lists them.",
            "",
        ]
    )


def exit_codes_help() -> str:
    """Return the exit codes as a paragraph of help."""
    return "\n".join(["Exit codes:", *_columns([(str(code), words) for code, words in EXIT_CODES])])


def _columns(rows: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:{width}}  {right}" for left, right in rows]
