"""Sheets on chosen candidates for those who apply for telescope time, and a table of targets."""
