"""A script that can be called again and again: `python resume.py ids.txt` polls for 50 minutes.

The file keeps the ids that are still open, however a call ends: its time is up, the keys are
refused, or Ctrl-C is pressed.
"""

import asyncio
import sys
from pathlib import Path

from ideogram_async import IdeogramClient, IdeogramError, RequestError


async def resume(client: IdeogramClient, file: Path, seconds: float) -> int:
    """Print each request that ends; return the number of ids that are left in the file."""
    left = file.read_text().split()
    async with client.as_completed(left, timeout=seconds, return_exceptions=True) as run:
        try:
            async for result in run:
                if isinstance(result, RequestError):
                    print(result.request_id, "failed:", result)
                else:
                    print(result.request_id, *(image.url for image in result.responses))
        except IdeogramError as error:  # a WaitTimeout, mostly
            print(error, file=sys.stderr)
        finally:
            left = [*run.pending, *run.rest]
            file.write_text("".join(f"{request_id}\n" for request_id in left))
    return len(left)


async def main() -> None:
    """Poll the ids of the file that is the argument."""
    async with IdeogramClient() as client:
        left = await resume(client, Path(sys.argv[1]), 50 * 60)
    print(left, "left", file=sys.stderr)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
