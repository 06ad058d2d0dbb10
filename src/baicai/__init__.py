"""Baicai: a large model grown from small ones."""

__version__ = "0.1.0"
