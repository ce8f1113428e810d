"""Tests; the folders mirror the parts of the project."""
