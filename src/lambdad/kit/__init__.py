"""Knows asyncio, threads, signals, clocks and HTTP/1.1 framing. Does not know AWS, Lambda or any storage."""
