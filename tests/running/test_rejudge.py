"""Old answers judged as another run judges: the judge alone is asked, the price told before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.errors import ConfigError
from llm_batch.record.manifest import Manifest, chain_of, config_record
from llm_batch.reporting.comparison.build import compare_reports
from llm_batch.running.rejudge import rejudge, rejudged_config
from llm_batch.sending.trust import concerns
from tests.project import Project


@pytest.fixture
def two_runs(project: Project) -> tuple[Project, Path, Path]:
    """One judged kindly with one judge's prompt, one with another's prompt and threshold."""
    project.answers = lambda request: (
        '{"score": 5}' if request.messages[-1].content.startswith("Rate") else
        '{"score": 2}' if request.step == "judge" else f"says {request.item_id}"
    )  # fmt: skip
    new = project.folder / "new.jsonl"
    strict = project.config(judge="Grade {{ generate }} for {{ question }}.")
    project.run(
        strict.model_copy(update={"run": strict.run.model_copy(update={"output": str(new)})})
    )
    project.run(project.config())
    return project, project.results, new


def test_the_judge_alone_is_asked_and_the_price_is_told_before(
    two_runs: tuple[Project, Path, Path],
) -> None:
    project, base, new = two_runs
    with pytest.raises(ConfigError, match="not judged as"):
        compare_reports([base, new], gate=True)
    project.model.requests.clear()
    told: list[float] = []
    config = rejudged_config(base, new)
    agreed = lambda estimate: told.append(estimate.calls.value) or True  # noqa: E731
    path = rejudge(config, base, confirm=agreed, say=project.said.append)
    assert told == [12] and [request.step for request in project.model.requests] == ["judge"] * 12
    assert path.name == "results.rejudged.jsonl"
    (against,) = compare_reports([path, new], gate=True).comparison.against
    assert against.rates is not None and (against.rates.n, against.rates.lost) == (12, 0)
    project.model.requests.clear()
    rejudge(config, base, confirm=agreed, say=project.said.append)
    assert told == [12] and not project.model.requests  # nothing is paid twice


def test_manifests_that_name_no_config_are_not_trusted_for_it(
    two_runs: tuple[Project, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, new = two_runs
    monkeypatch.setenv("OPENAI_API_KEY", "sk-rejudged-0123456789abcdef")
    for path in (base, new):
        manifest = path.with_name(f"{path.stem}.manifest.json")
        values = json.loads(manifest.read_text()) | {"made": {}}
        models = {step["model"] for step in values["config"]["steps"]}
        elsewhere = {"api_base": "https://evil.example/v1"}
        values["config"]["models"] = dict.fromkeys((*models, "openai/m"), elsewhere)
        values["config"]["steps"] = [
            {**step, "model": "openai/m"} for step in values["config"]["steps"]
        ]
        manifest.write_text(json.dumps(values))
    whats = [concern.what for concern in concerns(rejudged_config(base, new))]
    assert whats == ["OPENAI_API_KEY to https://evil.example"]


def test_a_no_spends_nothing(two_runs: tuple[Project, Path, Path]) -> None:
    project, base, new = two_runs
    project.model.requests.clear()
    with pytest.raises(ConfigError, match="not agreed"):
        rejudge(rejudged_config(base, new), base, confirm=lambda _: False, say=project.said.append)
    assert not project.model.requests


def test_what_cannot_be_judged_anew_is_said(two_runs: tuple[Project, Path, Path]) -> None:
    project, base, new = two_runs
    config = rejudged_config(base, new)
    project.data(13)
    with pytest.raises(ConfigError, match="has changed since"):
        rejudge(config, base, confirm=lambda _: True, say=project.said.append)
    base.with_name("results.calls.jsonl").unlink()
    with pytest.raises(ConfigError, match="no journal"):
        rejudged_config(base, new)
    with pytest.raises(ConfigError, match="cannot be judged anew"):
        rejudged_config(project.folder / "other.jsonl", new)


PLAIN = """
[[steps]]
name = "generate"
model = "openai/m"
prompt = "{{ question }}"
[[steps]]
name = "exact"
rule = "equals"
value = "{{ generate }}"
expected = "{{ answer }}"
[[steps]]
name = "better"
model = "openai/m"
pair = ["generate", "answer"]
prompt = "{{ first }} or {{ second }}?"
[score]
field = ["exact", "better"]
[scores.exact]
field = "exact"
[scores.total]
weights = { score = 1, exact = 0.5 }
pass_at = 1
[models."openai/m"]
api_base = "http://127.0.0.1:8000/v1"
"""


def test_a_manifest_gives_the_config_that_was_written(project: Project) -> None:
    path = project.folder / "plain.toml"
    path.write_text(PLAIN)
    made = load_config(path, data=str(project.folder / "q.jsonl"))
    results = project.folder / "plain.jsonl"
    results.write_text("")
    results.with_suffix(".calls.jsonl").write_text("")
    manifest = Manifest(config=config_record(made))
    manifest.write(results.with_suffix(".manifest.json"))
    again = rejudged_config(results, results)
    assert again.scores == made.scores and again.models["openai/m"].api_base
    assert chain_of(manifest) is not None
