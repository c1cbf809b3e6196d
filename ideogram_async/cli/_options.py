"""Options that several commands have in common."""

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from ideogram_async.cli._exit_codes import Code, CommandError

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
    typer.Option(help="Queries per second; default: found by itself.", show_default=False),
]
QualityName = Literal["lossless", "balanced"]
Quality = Annotated[
    QualityName, typer.Option(help="Which images to save: as they are, or smaller.")
]
AssetsURL = Annotated[
    str | None,
    typer.Option(
        help="What serves the images, in place of https://ideogram.ai/assets.", show_default=False
    ),
]
AllowLoopback = Annotated[
    bool,
    typer.Option("--allow-loopback", help="Let --assets-url be on this machine: for tests."),
]
RequestIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IDS",
        help="Request ids; put -- before them where one starts with a dash.",
        show_default=False,
    ),
]
Origin = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="A file with one id per line; - reads standard input as it comes.",
        show_default=False,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Poll by shards on this Ray cluster; local starts one for this call.",
        show_default=False,
    ),
]
ShardCount = Annotated[int, typer.Option("--shards", help="Shards, with --ray.")]


def _no_option(variable: str) -> Callable[[str | None], None]:
    """Return what answers a key on the command line with the variable for it."""

    def refuse(key: str | None) -> None:
        if key is not None:
            raise CommandError(
                f"a key is no option, for every process can see it: set {variable}", Code.USAGE
            )

    return refuse


Token = Annotated[
    str | None, typer.Option("--token", hidden=True, callback=_no_option("IDEOGRAM_TOKEN"))
]
AccessToken = Annotated[
    str | None,
    typer.Option("--access-token", hidden=True, callback=_no_option("IDEOGRAM_ACCESS_TOKEN")),
]
