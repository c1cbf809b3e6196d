"""Options that several commands have in common."""

from typing import Annotated

import typer

BaseURL = Annotated[
    str | None,
    typer.Option(
        help="The gateway's address, https://host; default: IDEOGRAM_BASE_URL.",
        show_default=False,
    ),
]
AllowHTTP = Annotated[
    bool, typer.Option("--allow-http", help="Send the key in clear beyond this machine.")
]
MaxInFlight = Annotated[int, typer.Option(help="Queries in flight at once.")]
MaxRate = Annotated[
    float | None,
    typer.Option(help="Queries a second; default: found out by itself.", show_default=False),
]
