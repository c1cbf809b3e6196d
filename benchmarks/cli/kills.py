"""`watch --output --download`, killed with SIGKILL at random moments: `python -m benchmarks.kills`.

After each kill every line but the last is whole, and every image that has its final name is whole.
At the end each id is in the file once, and each image is there. A kill costs queries, no results.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks._gateway import GatewayProcess, gateway_process
from benchmarks._report import argument_parser
from ideogram_async.testing import Gateway, picture

EARLIEST_KILL_SECONDS = 0.3
"""After its start; the process has hardly begun by then."""


class Directory:
    """The files that the killed processes have left."""

    def __init__(self, path: Path) -> None:
        self.results = path / "results.jsonl"
        self.images = path / "images"
        self.torn_lines = 0
        self.parts = 0

    def check(self) -> list[str]:
        """Check that all is whole except what was being written, and return the ids."""
        content = self.results.read_bytes() if self.results.exists() else b""
        *lines, rest = content.split(b"\n")
        self.torn_lines += bool(rest)
        names = [path.name for path in self.images.iterdir()] if self.images.exists() else []
        self.parts += sum(name.endswith(".part") for name in names)
        for name in names:
            if name.endswith(".png"):
                response_id = name.removeprefix("ideogram-").removesuffix(".png")
                assert (self.images / name).read_bytes() == picture(response_id), name
        return [msgspec.json.decode(line)["request_id"] for line in lines]


def _asked(gateway: Gateway) -> list[str | None]:
    return [query.request_id for query in gateway.queries]


def _run_and_kill(command: list[str], gateway: GatewayProcess, after: float) -> bool:
    """Run a command, kill it after some seconds, and return whether it was still running."""
    process = subprocess.Popen(command, env=gateway.environment(), stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def run(path: Path, kills: int, count: int, longest: float, seed: int) -> str:
    """Kill the command so often, let it go on to its end, and return a line of figures."""
    rng = random.Random(seed)
    left = Directory(path)
    with gateway_process(latency=0.02, seed=seed) as gateway:
        ids = gateway.submit(rng.uniform(0, kills * longest * 0.6) for _ in range(count))
        listed = path / "ids"
        listed.write_text("\n".join(ids))
        command = [sys.executable, "-m", "ideogram_async", "watch", "--from", str(listed)]
        command += ["--output", str(left.results), "--download", str(left.images)]
        command += ["--assets-url", gateway.assets_url, "--allow-loopback"]
        lines: list[str] = []
        done = repeated = 0
        while done < kills:
            known, before = set(lines), len(gateway.call(_asked))
            done += _run_and_kill(command, gateway, rng.uniform(EARLIEST_KILL_SECONDS, longest))
            repeated += sum(one in known for one in gateway.call(_asked)[before:])
            lines = left.check()
        torn_lines, parts = left.torn_lines, left.parts
        began = time.perf_counter()
        subprocess.run(command, env=gateway.environment(), check=True)  # noqa: S603 - our own
        seconds, lines = time.perf_counter() - began, left.check()
        queries = len(gateway.call(_asked))
    assert Counter(lines) == Counter(ids), "an id is missing, or there twice"
    images = sorted(left.images.glob("*.png"))
    assert len(images) == count, "an image is missing"
    assert not list(left.images.glob(".*.part")), "a part was left"
    assert repeated == 0, "a finished request was asked for again"
    page = (left.images / "index.html").read_text(encoding="utf-8")
    assert all(image.name in page for image in images), "an image is not on the page"
    return (
        f"{kills} kills, {count} ids: each in the file once, {len(images)} images whole;"
        f" {torn_lines} torn lines and {parts} parts were left by the kills;"
        f" {queries} queries, none for an id in the file; the last run took {seconds:.1f} s"
    )


def main() -> None:
    """Run it, and print one line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ids", type=int, default=400)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds until a kill")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        print(run(Path(path), arguments.kills, arguments.ids, arguments.longest, arguments.seed))


if __name__ == "__main__":
    main()
