"""Tests of the repository itself: layout, packaging, purity of the core, set-up."""
