"""What several tests share: servers, scenes and readings."""
