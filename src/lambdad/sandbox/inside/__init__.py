"""Knows how to build the fence from within, with the standard library alone. Does not know asyncio or the rest of lambdad.

These modules run under every interpreter that has a template of its own (CPython 3.8 and later), so they use nothing newer,
and nothing outside the standard library.
"""
