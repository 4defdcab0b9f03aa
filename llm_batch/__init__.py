"""Run a chain of LLM calls over a dataset: safe, cheap, fast and statistically honest.

The names below are what may be imported; all modules beneath are private. Each is loaded when it
is first asked for, so that ``import llm_batch`` costs nothing. docs/python.md shows them at work.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers know it; typing itself takes longer than all of this
if TYPE_CHECKING:
    from llm_batch.chain.config import Config, load_config
    from llm_batch.errors import (
        ConfigError,
        DataError,
        Incomplete,
        Interrupted,
        LlmbError,
        OutputError,
        ProviderError,
    )
    from llm_batch.estimating.build import estimate
    from llm_batch.estimating.estimates import Estimate
    from llm_batch.estimating.pilot import Measured, measured_in
    from llm_batch.estimating.sample_size import Claim
    from llm_batch.records import Interval
    from llm_batch.reporting.build import build_report as report
    from llm_batch.reporting.comparison import Comparison
    from llm_batch.reporting.comparison.build import Compared
    from llm_batch.reporting.comparison.build import compare_reports as compare
    from llm_batch.reporting.foreign import Columns
    from llm_batch.reporting.judging.labels import LabelSource
    from llm_batch.reporting.model import Report
    from llm_batch.running.earlier import Earlier
    from llm_batch.running.progress import Progress, RunSummary
    from llm_batch.running.run import run
    from llm_batch.running.stopping import Until
    from llm_batch.sending.clock import Stop

__all__ = [
    "Claim",
    "Columns",
    "Compared",
    "Comparison",
    "Config",
    "ConfigError",
    "DataError",
    "Earlier",
    "Estimate",
    "Incomplete",
    "Interrupted",
    "Interval",
    "LabelSource",
    "LlmbError",
    "Measured",
    "OutputError",
    "Progress",
    "ProviderError",
    "Report",
    "RunSummary",
    "Stop",
    "Until",
    "compare",
    "estimate",
    "load_config",
    "measured_in",
    "report",
    "run",
]

#: Where each name is, for Python; the imports above say the same to type checkers and editors.
_PLACES = {
    "chain.config": ("Config", "load_config"),
    "errors": (
        "ConfigError",
        "DataError",
        "Incomplete",
        "Interrupted",
        "LlmbError",
        "OutputError",
        "ProviderError",
    ),
    "estimating.build": ("estimate",),
    "estimating.sample_size": ("Claim",),
    "estimating.pilot": ("Measured", "measured_in"),
    "estimating.estimates": ("Estimate",),
    "records": ("Interval",),
    "reporting.build": ("build_report as report",),
    "reporting.comparison": ("Comparison",),
    "reporting.comparison.build": ("Compared", "compare_reports as compare"),
    "reporting.foreign": ("Columns",),
    "reporting.judging.labels": ("LabelSource",),
    "reporting.model": ("Report",),
    "running.earlier": ("Earlier",),
    "running.progress": ("Progress", "RunSummary"),
    "running.run": ("run",),
    "running.stopping": ("Until",),
    "sending.clock": ("Stop",),
}


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, offered in _PLACES.items():
            for each in offered:
                original, _, renamed = each.partition(" as ")
                if name == (renamed or original):
                    found = getattr(import_module(f"llm_batch.{module}"), original)
                    globals()[name] = found  # asked for once
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
