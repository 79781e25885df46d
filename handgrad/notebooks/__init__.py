"""Notebook files, which are untrusted: read within limits, matched with the release, shown safely."""
