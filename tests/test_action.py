"""The GitHub action and the snippets of docs/gate.md: their steps are run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PROGRAMS = {
    "llmb": f'#!/bin/sh\nexec "{sys.executable}" -m llm_batch "$@"\n',
    "gh": '#!/bin/sh\necho "$@" > gh.txt\n',
}
CONFIG = """
[data]
path = "q.jsonl"
id = "id"
[run]
engine = "serial"
[sample]
size = 0
[models."fake/a"]
script = "{script}"
input_price = 1
output_price = 2
[[steps]]
name = "generate"
model = "fake/a"
prompt = "{{{{ question }}}}"
max_tokens = 20
[score]
equals = "answer"
"""


class Job:
    """A runner: a checkout, an environment and the contexts that expressions may name."""

    def __init__(self, folder: Path, event: str, **inputs: str) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }
        given = {name: each["default"] for name, each in ACTION["inputs"].items()}
        self.known = {f"inputs.{name}": value for name, value in (given | inputs).items()}
        self.known |= {
            "github.event_name": event,
            "github.event.pull_request.number": "7",
            "github.repository": "someone/evals",
            "github.action_path": str(ROOT),
            "inputs.token": "secret",
        }

    def run(self) -> tuple[int, list[str]]:
        """Run the steps as a runner does; the code of the last, and what was run."""
        done: list[str] = []
        for step in ACTION["runs"]["steps"]:
            if not self._wanted(step.get("if", "")):
                continue
            env = {name: self._filled(text) for name, text in step.get("env", {}).items()}
            assert step["shell"] == "bash" and "${{" not in step["run"], "a script takes its inputs"
            code = self.shell(["bash", "-e", "-o", "pipefail", "-c", step["run"]], **env)
            done.append(step["name"])
            for line in self._outputs():
                name, _, value = line.partition("=")
                self.known[f"steps.{step.get('id')}.outputs.{name}"] = value
            if code:
                return code, done
        return 0, done

    def shell(self, words: list[str], **env: str) -> int:
        found = subprocess.run(
            words, cwd=self.folder, env=self.env | env, capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in found.stderr, found.stderr
        return found.returncode

    def _outputs(self) -> list[str]:
        path = Path(self.env["GITHUB_OUTPUT"])
        return path.read_text().splitlines() if path.exists() else []

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{\{ ([^}]+) \}\}", lambda found: str(self.known[found[1]]), text)

    def _wanted(self, condition: str) -> bool:
        parts = [part.split(" == ") for part in condition.split(" && ") if part]
        return all(str(self.known[name]) == value.strip("'") for name, value in parts)


def checkout(folder: Path, answers: str = "Paris") -> None:
    """A repository with data, the config of the candidate, and a baseline of what is in use."""
    lines = [{"id": f"q{n}", "question": f"What is {n}?", "answer": "Paris"} for n in range(150)]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, words in (("old", "Paris"), ("new", answers)):
        (folder / f"{name}.jsonl").write_text(json.dumps(words) + "\n")
    (folder / "old.toml").write_text(CONFIG.format(script="old.jsonl"))
    (folder / "llmb.toml").write_text(CONFIG.format(script="new.jsonl"))


def with_baseline(job: Job) -> None:
    assert job.shell(["llmb", "run", "-c", "old.toml", "-o", "base.jsonl", "--quiet"]) == 0
    assert job.shell(["llmb", "baseline", "set", "base.jsonl", "-o", "baseline.json"]) == 0


@pytest.mark.parametrize(
    ("answers", "event", "verdict", "code"),
    [("Paris", "pull_request", "passed", 0), ("London", "push", "failed", 5)],
)
def test_the_action_plays_the_candidate_and_comments_on_it(
    answers: str, event: str, verdict: str, code: int, tmp_path: Path
) -> None:
    checkout(tmp_path, answers)
    job = Job(tmp_path, event, install="false")
    with_baseline(job)
    ended, steps = job.run()
    assert ended == code
    assert job.known["steps.gate.outputs.verdict"] == verdict
    comment = (tmp_path / "gate.md").read_text()
    assert f"Gate {verdict}" in comment.splitlines()[0]
    assert ("| London |" in comment) is (verdict == "failed")
    assert (tmp_path / "summary.md").read_text().strip() == comment.strip()
    failures = ElementTree.parse(tmp_path / "gate.xml").getroot().attrib["failures"]
    assert failures == str(int(verdict == "failed"))
    asked = event == "pull_request"
    assert ("Say it in the pull request" in steps) is asked is (tmp_path / "gh.txt").exists()
    if asked:
        typed = (tmp_path / "gh.txt").read_text()
        assert typed.startswith("pr comment 7 --repo someone/evals --body-file gate.md")


def test_the_action_stops_where_there_is_no_basis(tmp_path: Path) -> None:
    checkout(tmp_path)
    job = Job(tmp_path, "pull_request", install="false")
    with_baseline(job)
    (tmp_path / "q.jsonl").write_text((tmp_path / "q.jsonl").read_text().replace("What", "Who"))
    code, steps = job.run()
    assert code == 2 and steps[-1] == "Hold it against the baseline"


@pytest.mark.parametrize("answers", ["Paris", "London"])
def test_the_snippets_for_other_ci_end_as_the_gate_does(answers: str, tmp_path: Path) -> None:
    from tests.test_pages import blocks

    snippets: dict[str, Any] = {
        block.title: yaml.safe_load(block.text)
        for block in blocks("gate")
        if block.language == "yaml"
    }
    checkout(tmp_path, answers)
    job = Job(tmp_path, "push", install="false")
    with_baseline(job)
    code = 0 if answers == "Paris" else 5
    script = "\n".join(snippets[".gitlab-ci.yml"]["gate"]["script"])
    assert job.shell(["sh", "-e", "-c", script]) == code
    (hook,) = snippets[".pre-commit-config.yaml"]["repos"][0]["hooks"]
    assert job.shell(["sh", "-c", hook["entry"]]) == code
    (used,) = [step for step in snippets["gate.yml"]["jobs"]["gate"]["steps"]
               if "OWNER" in step.get("uses", "")]  # fmt: skip
    assert set(used["with"]) <= set(ACTION["inputs"])
