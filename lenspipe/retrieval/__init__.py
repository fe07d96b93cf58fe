"""Retrieval of bytes: local folders, web servers, object stores, TAP services, caches."""
