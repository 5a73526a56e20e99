"""What CONTRIBUTING.md and its neighbours promise is so: every path, target and session that they name exists."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any, Final

import pytest
import yaml
from test_architecture import FLOORS, PACKAGE

ROOT: Final = PACKAGE.parent
PAGE: Final = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES: Final = ("CONTRIBUTING.md", "SECURITY.md", ".github/pull_request_template.md", ".github/ISSUE_TEMPLATE/bug.yml")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MADE: Final = {".venv", "site", "dist"}  # by make
URL: Final = "https://github.com/smspilot-async/smspilot-async"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def workflow(name: str) -> Any:
    return yaml.safe_load(read(f".github/workflows/{name}.yml"))


def paths(text: str) -> set[str]:
    """Return what is written as code, or drawn in a block, and looks like a path; and the targets of links."""
    words = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[\s:]", code)}
    words |= {word for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for word in re.split(r"[\s,]", block)}
    written = {word for word in words if re.fullmatch(r"\.?\w[\w.-]*(/[\w.-]+)*/?", word)}
    linked = set(re.findall(r"\]\(([^):#]+)\)", text))
    return linked | {word for word in written if "/" in word or word.endswith((".py", ".md", ".toml"))}


def is_there(path: str) -> bool:
    return path.split("/", maxsplit=1)[0] in MADE or any((folder / path).exists() for folder in (ROOT, PACKAGE))


def test_the_pages_name_the_files_that_people_look_for() -> None:
    assert {"_sending/submission.py", "wire/commands.py", "tests/test_architecture.py", "SECURITY.md"} <= paths(PAGE)
    assert len(paths(PAGE)) > 60


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_exists(page: str) -> None:
    assert sorted(path for path in paths(read(page)) if not is_there(path)) == []


@pytest.mark.parametrize(
    ("question", "file"),
    [
        ("where is a 110 retried", "_sending/submission.py"),
        ("where would a new command of the gateway go", "wire/commands.py"),
        ("where is a callback's URL signed", "callbacks/_signing.py"),
        ("where is it decided that a packet may be split", "_sending/submission.py"),
        ("what may `_network` import", "tests/test_architecture.py"),
    ],
)
def test_a_newcomers_question_is_answered_by_a_file(question: str, file: str) -> None:
    (answer,) = re.findall(rf"^\| {re.escape(question)}[^|]* \| (.+) \|$", PAGE, re.MULTILINE)
    assert f"`{file}`" in answer


def test_functions_and_tables_named_beside_a_file_are_in_it() -> None:
    named = re.findall(r"`(?:smspilot_async/)?([\w/]+\.py)`, `([\w.]+)`", PAGE)
    assert len(named) >= 5
    missing = [
        f"{file}: {name}"
        for file, name in named
        for part in name.split(".")
        if not re.search(rf"\b{part}\b", (PACKAGE / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_the_map_shows_the_rooms_in_the_order_that_imports_keep() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(FLOORS) + 1))
    assert [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows] == [set(floor) for floor in FLOORS]


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", read(page))}
    assert {"dev", "test", "lint", "dist"} <= named <= targets


def test_every_nox_session_that_is_named_exists() -> None:
    sessions = {node.name for node in ast.parse(read("noxfile.py")).body if isinstance(node, ast.FunctionDef)}
    sessions |= {f"tests-{version}" for version in pythons()}
    ci = {job["session"] for job in workflow("ci")["jobs"]["tests"]["strategy"]["matrix"]["include"]}
    assert ci == {"lowest", *(f"tests-{version}" for version in pythons())}
    assert ci | set(re.findall(r"nox -s ([\w.-]+)", PAGE)) <= sessions


def pythons() -> tuple[str, ...]:
    """Return the Pythons that nox tests."""
    (found,) = re.findall(r"^PYTHONS: Final = (\(.+\))$", read("noxfile.py"), re.MULTILINE)
    versions: tuple[str, ...] = ast.literal_eval(found)
    return versions


def test_the_pythons_that_are_tested_are_those_that_are_claimed() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tuple(named) == pythons()
    assert PROJECT["requires-python"] == f">={pythons()[0]}"


def test_dependencies_have_one_lowest_version_each() -> None:
    extras = PROJECT["optional-dependencies"].values()
    lines = {line for extra in [PROJECT["dependencies"], *extras] for line in extra}
    bounds = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:,<[\d.]+)?", line) for line in sorted(lines)]
    assert None not in bounds
    names = [bound[1] for bound in bounds if bound]
    assert names == sorted(set(names))


def test_a_release_publishes_without_a_token_and_only_what_ci_has_passed() -> None:
    jobs = workflow("release")["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("ci", "build")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in read(".github/workflows/release.yml")


def test_the_hooks_before_a_commit_need_nothing_but_the_own_environment() -> None:
    hooks = [hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "mypy"}
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_a_bug_report_asks_whether_it_was_sent() -> None:
    form = yaml.safe_load(read(".github/ISSUE_TEMPLATE/bug.yml"))
    (question,) = [field for field in form["body"] if field["attributes"].get("label") == "Was it sent?"]
    assert question["validations"]["required"]


@pytest.mark.parametrize("page", [*PAGES, ".github/ISSUE_TEMPLATE/config.yml", "pyproject.toml"])
def test_the_project_has_one_address(page: str) -> None:
    addresses = re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", read(page))
    assert set(addresses) <= {URL}


def test_the_project_has_urls() -> None:
    assert PROJECT["urls"].keys() >= {"Documentation", "Changelog", "Issues"}
    assert all(url.startswith(URL) for url in PROJECT["urls"].values())
