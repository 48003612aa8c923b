"""Experts: frozen feature extractors behind the entry points `hit.experts`; the built-in ones come the same way."""
