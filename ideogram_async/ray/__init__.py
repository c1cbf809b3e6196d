"""Many ids on a Ray cluster. Needs Ray: `pip install 'ideogram-async[ray]'`.

One process polls tens of thousands of ids well. This is for more than that: millions, or several
hosts. It uses the library's public names.
"""

from ideogram_async.ray._errors import ShardLost
from ideogram_async.ray._run import RayRun, ray_as_completed
from ideogram_async.ray._shard_config import ClientOptions

__all__ = ["ClientOptions", "RayRun", "ShardLost", "ray_as_completed"]
