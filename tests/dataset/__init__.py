"""Tests of llm_batch.dataset."""
