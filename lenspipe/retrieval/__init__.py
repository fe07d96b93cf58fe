"""Retrieval of bytes: local folders, web servers, object stores, TAP services, caches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["fetched"],
        "http": ["HttpTransport"],
        "local": ["LocalSource"],
        "ranges": ["PART_BYTES", "merge"],
        "remote": ["RemoteSource"],
        "retry": ["retrying"],
        "sources": ["open_source"],
        "tap": ["TapService"],
        "tiles": ["read_layout"],
    },
)
