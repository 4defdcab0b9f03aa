"""The report as one HTML file that opens from disk and asks the network for nothing.

The page has the headline, charts (Vega-Lite, drawn by the library inside the page), every figure
of the report as a table, and a browser of the items. Nothing in the data can run or load: texts
reach the page as JSON in a block that is no script and are set as text only, and a content
security policy allows the page's own scripts by their hashes and nothing else.
"""

from __future__ import annotations

from llm_batch.reporting.model import Report


def format(report: Report) -> str:
    """The page.

    Raises:
        OutputError: The results file cannot be read a second time.
        ConfigError: The charts' library is not installed.
    """
    from llm_batch.reporting.html.page import page

    return page(report)
