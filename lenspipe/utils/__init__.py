"""Foundations without astronomy of their own: errors, files, tables, crossmatching, progress."""
