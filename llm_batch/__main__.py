"""The process of ``llmb``, which ``python -m llm_batch`` is too: when it looks for garbage.

What is imported stays, so to look through it is in vain, at the start and at the end.
"""

import gc

gc.disable()  # until `main`

from llm_batch.cli import main as command  # noqa: E402


def main() -> None:
    gc.set_threshold(200_000, 20, 20)  # a run goes back to what is usual
    gc.enable()
    try:
        command()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
