"""The command `ideogram-async`, and `python -m ideogram_async`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; its two packages are an extra."""
    try:
        from ideogram_async.cli import main as run  # noqa: PLC0415 - it may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write("The command line is an extra: pip install 'ideogram-async[cli]'\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
