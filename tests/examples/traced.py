from ideogram_async import IdeogramClient
from ideogram_async.telemetry import Telemetry


def traced_client(base_url: str) -> IdeogramClient:
    telemetry = Telemetry()  # or with providers of its own, or spans=False
    client = IdeogramClient(base_url, hooks=[telemetry])
    telemetry.observe(client)  # also metrics of what is pending
    return client
