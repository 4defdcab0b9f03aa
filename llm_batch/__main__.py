"""``python -m llm_batch`` is ``llmb``."""

import gc

gc.disable()  # until `main`

from llm_batch.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
