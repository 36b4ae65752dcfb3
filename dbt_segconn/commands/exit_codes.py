"""Exit codes of the program."""

OK, FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130

MEANINGS = {
    OK: "Success. Every sync delivered every record; `validate` found no errors; `diff` found no breaking change.",
    FAILED: "A sync failed, was blocked or canceled, discarded records, or was skipped because dbt failed. `validate` "
    "found errors; `diff` found breaking changes.",
    NOT_STARTED: "The command could not start. Nothing was sent.",
    INTERRUPTED: "Interrupted by Ctrl-C or SIGTERM, or by `--max-runtime`. The next run delivers the rest.",
}
"""exit code → meaning, for the manual"""
