"""Many ids on a Ray cluster. Needs Ray: `pip install 'ideogram-async[ray]'`.

One process polls tens of thousands of ids well. This is for more: millions of ids, or several
hosts. Each shard is an actor with a client of its own; the run itself is the same as a local one,
with `ClusterRun` in the place of the client's jobs.
"""

from ideogram_async.ray._errors import ShardLost
from ideogram_async.ray._run import RayRun, ray_as_completed
from ideogram_async.ray._shard_config import ClientOptions

__all__ = ["ClientOptions", "RayRun", "ShardLost", "ray_as_completed"]
