"""``python -m llm_batch`` is ``llmb``."""

from llm_batch.cli import main

main()
