"""Run a chain of LLM calls over a dataset: safe, cheap, fast and statistically honest."""

__version__ = "0.1.0"
