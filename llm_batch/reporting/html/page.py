"""The page put together: the template, its style and scripts, and the data they show."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from llm_batch import __version__
from llm_batch.errors import ConfigError
from llm_batch.paper import words
from llm_batch.paper.document import Document
from llm_batch.records import Interval
from llm_batch.reporting import sections
from llm_batch.reporting.html.charts import charts
from llm_batch.reporting.html.embed import ITEM_LIMIT, embed_items, escaped_json
from llm_batch.reporting.html.spec import Chart
from llm_batch.reporting.model import FUTURE, Report
from llm_batch.reporting.sentences import method
from llm_batch.reporting.settings import read_settings


def page(report: Report, limit: int = ITEM_LIMIT) -> str:
    """The whole page.

    Args:
        report: What to show.
        limit: How many items to put into the page.

    Raises:
        OutputError: The results file cannot be read a second time.
        ConfigError: The charts' library is not installed.
    """
    from markupsafe import Markup

    settings = read_settings(report)
    items = embed_items(report, settings, limit)
    data = {
        "encoding": items.encoding,
        "total": report.items.read,
        "steps": [step.name for step in settings.steps],
        "judge": report.run.judge,
        "group": report.groups.field if report.groups else "",
        "pass_at": report.pass_rate.pass_at,
    }
    return rendered(
        "page",
        sections.document(report),
        charts=list(charts(report)),
        data=data,
        simulated=report.run.simulated,
        finding=_finding(report),
        facts=_facts(report),
        read=report.items.read,
        items=Markup(items.text),
        items_type="application/json" if items.encoding == "json" else "application/gzip",
        shown=items.n,
    )


def rendered(
    name: str, document: Document, *, charts: Sequence[Chart], data: Any, **values: Any
) -> str:
    """A page of ``base.html``, whose blocks ``name.html`` fills and ``name.js`` drives.

    Args:
        name: Of the assets.
        document: What the page says.
        charts: What it draws.
        data: For its script.
        values: What its blocks need.

    Raises:
        ConfigError: The charts' library is not installed.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    library, style = _library(), _asset("page.css")
    script = f'"use strict";\n(() => {{\n{_asset("shared.js")}{_asset(f"{name}.js")}}})();\n'
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html").render(
        version=__version__,
        document=document,
        charts=charts,
        specs=Markup(escaped_json({chart.name: chart.spec for chart in charts})),
        data=Markup(escaped_json(data)),
        is_table=lambda part: isinstance(part, sections.Table),
        library=Markup(library),
        script=Markup(script),
        style=Markup(style),
        script_hashes=[_hash(library), _hash(script)],
        style_hash=_hash(style),
        **values,
    )


def _finding(report: Report) -> dict[str, Any]:
    """The finding as parts to set in different sizes, with its bar."""
    rate, mean = report.pass_rate.rate, report.scores.mean
    level = words.level(report.level)
    corrected = report.calibration.corrected if report.calibration else None
    if corrected is not None and corrected.value is not None:
        return {
            "figure": words.percent(corrected.value),
            "what": "pass rate, corrected by labels",
            "bounds": _bounds(corrected, level, words.percent_range(corrected)),
            "about": f"for {FUTURE}",
            "bar": None
            if corrected.low is None
            else _bar(corrected.low, corrected.value, corrected.high or 1.0),
        }
    if rate.value is not None:
        return {
            "figure": words.percent(rate.value),
            "what": "pass rate",
            "bounds": _bounds(rate, level, words.percent_range(rate)),
            "about": f"for {report.pass_rate.estimand}",
            "bar": None if rate.low is None else _bar(rate.low, rate.value, rate.high or 1.0),
        }
    corrected = report.calibration.corrected_mean if report.calibration else None
    if corrected is not None and corrected.value is not None:
        return {
            "figure": words.mean(corrected.value),
            "what": "mean score, corrected by labels",
            "bounds": _bounds(corrected, level, words.mean_range(corrected)),
            "about": f"for {FUTURE}",
            "bar": None,
        }
    if mean.value is not None:
        return {
            "figure": words.mean(mean.value),
            "what": "mean score",
            "bounds": _bounds(mean, level, words.mean_range(mean)),
            "about": f"for {report.scores.estimand}",
            "bar": None,
        }
    return {"figure": "", "what": report.headline, "bounds": "", "about": "", "bar": None}


def _bounds(interval: Interval, level: str, between: str) -> str:
    if interval.low is None:
        return "no interval, because there are too few items"
    return f"{level} interval {between} ({method(interval)})"


def _bar(low: float, value: float, high: float) -> dict[str, str]:
    """Where the parts of the interval's bar stand, in units of its drawing (1000 wide)."""
    return {
        "low": f"{1000 * low:.1f}",
        "width": f"{1000 * (high - low):.1f}",
        "value": f"{1000 * value:.1f}",
    }


def _facts(report: Report) -> list[tuple[str, str, str]]:
    """Name, figure and a few words of each fact beside the headline."""
    items, money, mean = report.items, report.money, report.scores.mean
    of = f"of {items.read:,} played"
    if items.population == items.read:
        of = "of all items in the dataset"
    elif items.population is not None:
        of = f"of {items.read:,} played, {items.population:,} in the dataset"
    facts = [("Items scored", f"{items.scored:,}", of)]
    if mean.value is not None and report.pass_rate.rate.value is not None:
        facts.append(("Mean score", words.mean(mean.value), words.mean_range(mean)))
    rate = report.pass_rate.rate
    check = report.calibration
    if check is not None and check.corrected is not None:
        facts.append(("The judge alone", words.percent(rate.value), words.percent_range(rate)))
    elif check is not None and check.corrected_mean is not None and rate.value is None:
        facts.append(("The judge alone", words.mean(mean.value), words.mean_range(mean)))
    failed = items.read - items.ok
    facts.append(("Failed", f"{failed:,}", words.percent(failed / items.read if failed else 0.0)))
    if report.total.cost is not None and report.steps:
        each = f"{words.usd(money.per_item)} an item" if money.per_item else ""
        facts.append(("Cost", words.usd(report.total.cost), each))
    if report.run.seconds is not None:
        median = f"median {words.duration(report.total.latency_p50)} an item"
        facts.append(("Time", words.duration(report.run.seconds), median))
    return facts


@lru_cache(maxsize=1)
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    try:
        import vl_convert
    except ImportError:
        raise ConfigError(
            "--format html draws its charts with vl-convert-python, which is not installed",
            "pip install 'llmb[html]'; text, md and csv need nothing more",
        ) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a script element these would end or hide the script; in its strings they mean the same.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
