"""The command line. Needs typer and rich: `pip install 'ideogram-async[cli]'`.

A command is one module with one function, registered below. It uses the library's public names.
"""

from ideogram_async.cli._app import app, main

__all__ = ["app", "main"]
