"""The protocol of `ideogram_async._limiter`, for this room's modules."""

from ideogram_async._limiter import Limiter, LimitSource

__all__ = ["LimitSource", "Limiter"]
