"""The harness runs steps as GitHub does, and fails where a step or a workflow is broken."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, harness: Callable[[str], ModuleType]) -> Run:
    """Run a workflow with these jobs, as YAML; returns the world, which later calls go on with."""
    workflows = tmp_path / "project" / ".github" / "workflows"
    for folder in (tmp_path / "home", tmp_path / "bin", workflows):
        folder.mkdir(parents=True)
    world = harness("world").World(tmp_path, {"KEY": "hidden"}, {})

    def call(jobs: str, **inputs: Any) -> Any:
        head = "on: {workflow_dispatch: }\nconcurrency: {group: one}\njobs:\n"
        text = head + textwrap.indent(textwrap.dedent(jobs), "  ")
        (workflows / "tiny.yml").write_text(text, encoding="utf-8")
        event = harness("jobs").Event("workflow_dispatch", {}, "0" * 40, "main", inputs)
        harness("jobs").run_workflow(world, "tiny", event, tmp_path / "project")
        return world

    return call


def fails(run: Run, jobs: str) -> str:
    """The message of the WorkflowError that the jobs end with."""
    with pytest.raises(RuntimeError) as caught:
        run(jobs)
    assert type(caught.value).__name__ == "WorkflowError"
    return str(caught.value)


def one(*steps: str) -> str:
    """A job `first` with these steps."""
    return "first:\n  steps:\n" + "".join(f"    - {step}\n" for step in steps)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("run: 'false'", "tiny / first 1 / false: exit code 1"),
        ("{name: Broken, run: 'echo why >&2; exit 3'}", "tiny / first 1 / Broken: exit code 3\nwhy"),
        ("run: 'false | cat'", "exit code 1"),
        ("run: 'false; true'", "exit code 1"),
        ("run: missing-program", "exit code 127"),
        ("{run: 'false', continue-on-error: true}", "exit code 1"),
        ("run: 'echo ${{ github.sha }}'", "found an expression in its commands, expected it in env"),
        ("run: 'echo broken >>\"$GITHUB_OUTPUT\"'", "expected name=value"),
        ("{run: 'true', env: {KEY: '${{ secrets.OTHER }}'}}", "found secrets.OTHER, which the context lacks"),
        ("{run: 'true', shell: sh}", "found shell, which the harness does not know"),
        ("uses: somebody/action@v1", "uses: found somebody/action, expected one of actions/checkout"),
        ("{uses: actions/cache@v1, with: {paths: a}}", "found paths, expected key, path, restore-keys"),
        ("{uses: actions/download-artifact@v1, with: {name: a}}", "found no artifact a, only []"),
        (
            "{uses: actions/upload-artifact@v1, with: {name: a, path: a, if-no-files-found: error}}",
            "path: found nothing at a",
        ),
    ],
)
def test_a_broken_step_fails(step: str, message: str, run: Run) -> None:
    assert message in fails(run, one(step))


def test_steps_after_a_broken_one_do_not_run(tmp_path: Path, run: Run) -> None:
    fails(run, one("run: 'false'", f"run: touch {tmp_path}/ran"))
    assert not (tmp_path / "ran").exists()


def test_a_job_that_is_not_due_fails(run: Run) -> None:
    assert "not due, expected every job to run" in fails(run, "first: {if: github.event.repository.fork, steps: []}")


def test_values_go_from_step_to_step_and_from_job_to_job(run: Run) -> None:
    world = run(
        """
        first:
          env: {KEY: '${{ secrets.KEY }}', COUNT: '${{ inputs.count }}'}
          outputs: {names: '${{ steps.made.outputs.names }}'}
          steps:
            - id: made
              run: |
                echo 'names=["a", "b"]' >>"$GITHUB_OUTPUT"
                echo "LATER=$KEY-$COUNT" >>"$GITHUB_ENV"
                mkdir bin files
                printf '#!/bin/sh\\necho from bin' >bin/own
                chmod +x bin/own
                echo "$PWD/bin" >>"$GITHUB_PATH"
            - run: test "$LATER $(own)" = "hidden-2 from bin" && echo "seen" | tee files/seen files/.hidden
            - if: ${{ cancelled() }}
              run: exit 1
            - uses: actions/upload-artifact@v1
              with: {name: files, path: files}
        second:
          needs: first
          strategy: {matrix: {name: '${{ fromJSON(needs.first.outputs.names) }}'}}
          steps:
            - uses: actions/download-artifact@v1
              with: {name: files, path: '${{ runner.temp }}/got'}
            - env: {NAME: '${{ matrix.name }}'}
              run: echo "$NAME $(cat "$RUNNER_TEMP/got/seen") $(ls -A "$RUNNER_TEMP/got")" >>"$GITHUB_STEP_SUMMARY"
        """,
        count=2,
    )
    assert world.summaries == {"tiny / second (a) 1": "a seen seen\n", "tiny / second (b) 1": "b seen seen\n"}


def test_an_artifact_is_replaced_only_when_asked_for(run: Run) -> None:
    upload = "{{uses: actions/upload-artifact@v1, with: {{name: a, path: a{0}}}}}"
    again = one("run: touch a", upload.format(""), upload.format(", overwrite: true"))
    run(again)
    assert "found a, which this run has already" in fails(run, again.replace(", overwrite: true", ""))


def test_a_cache_is_found_by_its_prefix_and_kept_after_success(run: Run) -> None:
    def cached(key: str, commands: str) -> str:
        given = f"{{path: kept, key: k-{key}, restore-keys: k-}}"
        return one(f"{{uses: actions/cache@v1, with: {given}}}", f"run: {commands}")

    run(cached("1", "test ! -e kept && mkdir kept && echo good >kept/a"))
    assert "exit code 1" in fails(run, cached("2", "grep good kept/a && echo bad >kept/a && false"))
    run(cached("3", "grep good kept/a"))


def test_make_test_collects_the_tests_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    run(one("run: make test"))
    assert (tmp_path / "called").read_text(encoding="utf-8") == "-m pytest --collect-only -q\n"


def test_commands_that_bash_cannot_read_are_named(tmp_path: Path, harness: Callable[[str], ModuleType]) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "tiny.yml").write_text("jobs: {first: {steps: [{run: 'if true'}]}}", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"tiny / first / if true: .*syntax error"):
        harness("jobs").check_syntax("tiny", tmp_path)


CONTEXT = {
    "github": {"event": {"pull_request": None, "fork": False}, "event_name": "push", "ref_name": "main"},
    "inputs": {"count": 2, "text": "It's"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.ref_name", "main"),
        ("github.event.pull_request.number || github.ref_name", "main"),
        ("github.event_name == 'PUSH'", True),
        ("github.event_name != 'push' || inputs.count == 2", True),
        ("!github.event.fork && 'a' || 'b'", "a"),
        ("github.event.fork && 'a' || 'b'", "b"),
        ("false && false || true", True),
        ("true || false && false", True),
        ("(true || false) && false", False),
        ("inputs.text == 'it''s'", True),
        ("fromJSON('[1, 2]')", [1, 2]),
        ("success() && !cancelled()", True),
        ("null", None),
    ],
)
def test_expressions_have_githubs_values(text: str, value: Any, harness: Callable[[str], ModuleType]) -> None:
    status = {"success": True, "failure": False, "cancelled": False, "always": True}
    assert harness("expressions").evaluate(text, CONTEXT, status) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("github.missing", "found github.missing, which the context lacks"),
        ("secrets.KEY", "found secrets, which the context lacks"),
        ("github.event_name = 'push'", "expected what the evaluator knows"),
        ("inputs.count == '2'", "expected one type"),
        ("hashFiles('a')", "found the function hashFiles, expected fromJSON or a status"),
        ("true false", "found 'false', expected the end"),
        ("(true", "expected )"),
        ("", "expected more"),
    ],
)
def test_unknown_expressions_are_refused(text: str, message: str, harness: Callable[[str], ModuleType]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        harness("expressions").evaluate(text, CONTEXT)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "good", "due"),
    [
        (None, True, True),
        (None, False, False),
        ("github.event_name == 'push'", False, False),
        ("${{ !cancelled() }}", False, True),
        ("always()", False, True),
        ("failure()", True, False),
    ],
)
def test_conditions_ask_for_success_unless_they_name_a_status(
    condition: str | None, good: bool, due: bool, harness: Callable[[str], ModuleType]
) -> None:
    status = {"success": good, "failure": not good, "cancelled": False, "always": True}
    assert harness("expressions").holds(condition, CONTEXT, status) is due


def test_texts_keep_their_types_or_are_filled_in(harness: Callable[[str], ModuleType]) -> None:
    given = {"a": "${{ inputs.count }}", "b": ["x-${{ inputs.count }}-${{ github.event.fork }}", True], "c": 1}
    assert harness("expressions").interpolate(given, CONTEXT) == {"a": 2, "b": ["x-2-false", True], "c": 1}
