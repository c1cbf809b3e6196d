"""`watch --output --download`, killed with SIGKILL again and again at random moments.

After each kill every line but the last is whole, and every image that has its name is; in the end
every id is in the file once, and every image is there. What a kill costs are queries.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks._served import Served
from ideogram_async.testing import picture

EARLIEST = 0.3
"""Seconds after its start at which a process may be killed: it has hardly begun by then."""


class Directory:
    """What the killed processes have left."""

    def __init__(self, path: Path) -> None:
        self.results = path / "results.jsonl"
        self.images = path / "images"
        self.torn = 0
        self.parts = 0

    def check(self) -> list[str]:
        """Check that all is whole but what was being written; give the ids."""
        content = self.results.read_bytes() if self.results.exists() else b""
        *lines, rest = content.split(b"\n")
        self.torn += bool(rest)
        names = [path.name for path in self.images.iterdir()] if self.images.exists() else []
        self.parts += sum(name.endswith(".part") for name in names)
        for name in names:
            if name.endswith(".png"):
                response_id = name.removeprefix("ideogram-").removesuffix(".png")
                assert (self.images / name).read_bytes() == picture(response_id), name
        return [msgspec.json.decode(line)["request_id"] for line in lines]


def _killed(command: list[str], served: Served, after: float) -> bool:
    """Run a command, and kill it after some seconds; False where it had ended before."""
    process = subprocess.Popen(command, env=served.environment(), stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def run(path: Path, kills: int, count: int, longest: float, seed: int) -> str:
    """Kill so often, go on to the end, and tell what it took."""
    chance = random.Random(seed)
    left = Directory(path)
    with Served(latency=0.02, seed=seed) as served:
        gateway = served.gateway
        durations = [chance.uniform(0, kills * longest * 0.6) for _ in range(count)]
        ids = served.call(lambda: [gateway.submit(duration=one) for one in durations])
        listed = path / "ids"
        listed.write_text("\n".join(ids))
        command = [sys.executable, "-m", "ideogram_async", "watch", "--from", str(listed)]
        command += ["--output", str(left.results), "--download", str(left.images)]
        command += ["--assets-url", gateway.assets_url, "--allow-loopback"]
        lines: list[str] = []
        done = repeated = 0
        while done < kills:
            known, asked = set(lines), len(gateway.queries)
            done += _killed(command, served, chance.uniform(EARLIEST, longest))
            repeated += sum(query.request_id in known for query in gateway.queries[asked:])
            lines = left.check()
        torn, parts = left.torn, left.parts
        began = time.perf_counter()
        subprocess.run(command, env=served.environment(), check=True)  # noqa: S603 - our own
        seconds, lines = time.perf_counter() - began, left.check()
        queries = len(gateway.queries)
    assert Counter(lines) == Counter(ids), "an id is missing, or there twice"
    images = sorted(left.images.glob("*.png"))
    assert len(images) == count, "an image is missing"
    assert not list(left.images.glob(".*.part")), "a part was left"
    assert repeated == 0, "a finished request was asked for again"
    page = (left.images / "index.html").read_text(encoding="utf-8")
    assert all(image.name in page for image in images), "an image is not on the page"
    return (
        f"{kills} kills, {count} ids: each in the file once, {len(images)} images whole;"
        f" {torn} torn lines and {parts} parts were left on the way;"
        f" {queries} queries, none for what was in the file; the last call took {seconds:.1f} s"
    )


def main() -> None:
    """Run it, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ids", type=int, default=400)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds until a kill")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        print(run(Path(path), told.kills, told.ids, told.longest, told.seed))


if __name__ == "__main__":
    main()
