"""One query over HTTP, by aiohttp."""
