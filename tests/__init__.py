"""Tests of llm_batch; a package so that `python -m tests.server` works from the root."""
