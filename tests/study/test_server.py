from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from study_case import METHODS, SCRIPT, Participant, Server, ask, build, serving

from ecdm.study.plan import Plan
from ecdm.study.server import allowed_hosts, make_app, serve
from ecdm.study.votes import Vote, Votes


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, Plan]]:
    """One running study; each test comes as a participant of its own."""
    folder, plan = build(tmp_path_factory.mktemp("served"))
    with serving(folder) as server:
        yield server, folder, plan


def ids(plan: Plan) -> tuple[str, str]:
    return plan.questions[0].id, plan.questions[0].options[1].id


def test_served_bytes_name_no_method(case: tuple[Server, Path, Plan]) -> None:
    server, folder, plan = case
    page = folder / "page"
    paths = ["/", "/votes", *(f"/{p.relative_to(page).as_posix()}" for p in page.rglob("*") if p.is_file())]
    someone = Participant(server.port)
    for path in paths:
        answer = someone.get(path)
        assert answer.status == 200, path
        sent = (str(answer.headers) + path).encode() + answer.body
        for secret in (*METHODS, "generate", "pasted", str(folder.parent)):
            assert secret.encode() not in sent.lower(), f"{secret} in {path}"
        # Dates and tags of files would tell in which order they were written.
        assert not {"last-modified", "etag", "server"} & {name.lower() for name in answer.headers}
    assert len(paths) > len(plan.questions) * 5


@pytest.mark.parametrize(
    "path",
    [
        "/plan.json", "/votes.sqlite", "/votes.sqlite-wal", "/../plan.json", "/images/../../plan.json",
        "/%2e%2e/plan.json", "/images/..%2f..%2fplan.json", "//plan.json", "/page/index.html", "/images/",
        "/images/nothing.png", "/docs", "/openapi.json",
    ],
)  # fmt: skip
def test_nothing_but_the_page_has_an_address(case: tuple[Server, Path, Plan], path: str) -> None:
    answer = Participant(case[0].port).get(path)
    assert answer.status == 404
    assert b"method" not in answer.body


def test_every_answer_confines_the_page(case: tuple[Server, Path, Plan]) -> None:
    picture = f"/images/{case[2].questions[0].input}.png"
    for path, status in (("/", 200), ("/study.js", 200), (picture, 200), ("/nothing", 404), ("/votes", 401)):
        answer = ask(case[0].port, "GET", path)
        assert answer.status == status
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_captions_travel_as_data(case: tuple[Server, Path, Plan]) -> None:
    answer = ask(case[0].port, "GET", "/questions.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["questions"][0]["caption"].endswith(SCRIPT)
    assert SCRIPT.encode() not in ask(case[0].port, "GET", "/").body


def test_the_cookie_is_the_servers_own_and_stays(case: tuple[Server, Path, Plan]) -> None:
    port = case[0].port
    first, second = (ask(port, "GET", "/").headers["Set-Cookie"] for _ in range(2))
    assert first.split(";")[0] != second.split(";")[0]
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in first.split(";")}
    known = Participant(port, first.split(";")[0])
    assert known.get("/").headers["Set-Cookie"] is None
    changed = known.cookie[:-1] + ("2" if known.cookie[-1] != "2" else "3")
    for forged in (changed, "participant=", "participant=me", f"participant={'A' * 43}", "participant=" + "x" * 5000):
        assert Participant(port, forged).get("/votes").status == 401
        assert Participant(port, forged).vote(*ids(case[2])).status == 401
        assert Participant(port, forged).get("/").headers["Set-Cookie"] is not None


def test_looking_stores_nothing(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    with serving(folder) as server:
        database = folder / "votes.sqlite"
        before = database.read_bytes()
        for method in ("GET", "HEAD"):
            for path in ("/", "/study.js", "/questions.json"):
                assert ask(server.port, method, path).status == 200
        someone = Participant(server.port)
        assert someone.votes() == {}
        assert someone.vote(plan.questions[0].id, "nothing").status == 404
        assert sorted(folder.glob("votes.sqlite*")) == [database]
        assert database.read_bytes() == before


def test_a_locked_database_is_told_and_waited_for(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    with serving(folder, busy=0.1) as server:
        someone = Participant(server.port)
        with closing(sqlite3.connect(folder / "votes.sqlite", isolation_level=None)) as lock:
            lock.execute("PRAGMA locking_mode = EXCLUSIVE")
            lock.execute("BEGIN EXCLUSIVE")
            for answer in (someone.get("/votes"), someone.vote(*ids(plan))):
                assert answer.status == 503
                assert answer.json() == {"error": "the votes cannot be read or written now"}
                assert answer.headers["Cache-Control"] == "no-store"
            # Whoever comes now can begin all the same.
            assert Participant(server.port).get("/").status == 200
        assert someone.votes() == {}
        assert someone.vote(*ids(plan)).status == 200
        assert someone.votes() == dict([ids(plan)])


def test_a_vote_can_be_changed_and_is_the_participants_own(case: tuple[Server, Path, Plan]) -> None:
    server, _, plan = case
    question = plan.questions[0]
    ann, ben = Participant(server.port), Participant(server.port)
    for option in question.options:
        assert ann.vote(question.id, option.id).status == 200
    assert ben.vote(question.id, question.options[0].id).json() == {"saved": True}
    assert ann.votes() == {question.id: question.options[-1].id}
    assert ben.votes() == {question.id: question.options[0].id}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"\xff\xfe", 400),
        (b"[" * 900, 400),
        ([], 400),
        ({}, 400),
        ({"question": "Q"}, 400),
        ({"option": "O"}, 400),
        ({"question": "Q", "option": "O", "participant": "me"}, 400),
        ({"question": "Q", "option": 1}, 400),
        ({"question": "Q", "option": None}, 400),
        ({"question": "Q", "option": ["O"]}, 400),
        ({"question": "", "option": "O"}, 400),
        ({"question": "Q", "option": "x" * 65}, 400),
        ({"question": "Q", "option": "nothing"}, 404),
        ({"question": "nothing", "option": "O"}, 404),
        ({"question": "Q", "option": "'; DROP TABLE history; --"}, 404),
        ({"question": "Q", "option": "O" + " " * 2000}, 413),
        (b"{" + b" " * 100_000, 413),
    ],
)
def test_malformed_votes_are_refused_and_leave_nothing(
    case: tuple[Server, Path, Plan], content: Any, status: int
) -> None:
    server, _, plan = case
    if not isinstance(content, bytes):
        text = json.dumps(content)
        for sign, name in zip("QO", ids(plan), strict=True):
            text = text.replace(f'"{sign}"', f'"{name}"')
        content = text.encode()
    someone = Participant(server.port)
    answer = someone.post(content)
    assert answer.status == status
    assert set(answer.json()) == {"error"}
    assert someone.votes() == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://127.0.0.1"}, 403),
    ],
)
def test_other_sites_cannot_vote(case: tuple[Server, Path, Plan], headers: dict[str, str], status: int) -> None:
    server, _, plan = case
    question, option = ids(plan)
    someone = Participant(server.port)
    assert someone.post({"question": question, "option": option}, **headers).status == status
    assert bool(someone.votes()) == (status == 200)


def test_an_unknown_host_gets_nothing(case: tuple[Server, Path, Plan]) -> None:
    for host in ("evil.example", "", "127.0.0.1@evil.example", f"evil.example:{case[0].port}"):
        answer = ask(case[0].port, "GET", "/questions.json", headers={"Host": host})
        assert answer.status == 400
        assert b"caption" not in answer.body


def test_other_methods_are_refused(case: tuple[Server, Path, Plan]) -> None:
    for method, path in (("PUT", "/votes"), ("DELETE", "/votes"), ("POST", "/"), ("POST", "/plan.json")):
        assert ask(case[0].port, method, path, b"{}").status == 405


def test_concurrent_participants_lose_nothing(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)

    def take_part(number: int) -> tuple[Participant, dict[str, str]]:
        someone, final = Participant(server.port), {}
        for turn in range(2):
            for question in plan.questions:
                final[question.id] = question.options[(number + turn) % len(question.options)].id
                assert someone.vote(question.id, final[question.id]).status == 200
        return someone, final

    with serving(folder) as server, ThreadPoolExecutor(8) as pool:
        for someone, final in pool.map(take_part, range(8)):
            assert someone.votes() == final
    assert len(Votes(folder / "votes.sqlite", plan).all()) == 8 * len(plan.questions)


def test_a_restart_keeps_participants_and_votes(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    with serving(folder) as server:
        someone = Participant(server.port)
        someone.vote(*ids(plan))
    with serving(folder) as server:
        back = Participant(server.port, someone.cookie)
        assert back.votes() == dict([ids(plan)])
        assert back.get("/").headers["Set-Cookie"] is None


def test_a_killed_server_has_every_vote_that_it_confirmed(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    server = Server(folder)
    confirmed: list[Vote] = []
    enough = threading.Event()

    def vote_on(someone: Participant) -> None:
        for turn in range(10_000):
            question = plan.questions[turn % len(plan.questions)]
            option = question.options[turn // len(plan.questions) % len(question.options)].id
            try:
                saved = someone.vote(question.id, option).status == 200
            except (OSError, HTTPException):
                return
            if saved:
                confirmed.append(Vote(someone.cookie, question.id, option))
            if len(confirmed) > 60:
                enough.set()

    threads = [threading.Thread(target=vote_on, args=(Participant(server.port),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert enough.wait(timeout=120)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(timeout=60)
    with closing(sqlite3.connect(folder / "votes.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = database.execute("SELECT participant, question, option FROM history").fetchall()
    # Confirmed ones are all there; one per thread may have been written but not confirmed.
    assert 0 <= len(kept) - len(confirmed) <= 3
    assert {(f"participant={who}", *rest) for who, *rest in kept} >= set(confirmed)
    with serving(folder) as again:
        assert Participant(again.port, confirmed[0].participant).vote(*ids(plan)).status == 200


def test_a_study_that_is_not_whole_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        make_app(tmp_path)
    folder, plan = build(tmp_path)
    (folder / f"page/images/{plan.questions[0].input}.png").unlink()
    with pytest.raises(FileNotFoundError, match=plan.questions[0].input):
        make_app(folder)


def test_hosts_beyond_this_machine_need_a_name() -> None:
    loopback = ["127.0.0.1", "localhost", "[::1]"]
    assert allowed_hosts("127.0.0.1", []) == [*loopback, "127.0.0.1"]
    assert allowed_hosts("192.168.1.7", ["study.example"]) == [*loopback, "192.168.1.7", "study.example"]
    assert allowed_hosts("fd00::1", []) == [*loopback, "[fd00::1]"]
    assert allowed_hosts("0.0.0.0", ["study.example"]) == [*loopback, "study.example"]
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ValueError, match=f"--host: found {host}, every address, expected --allow-host"):
            allowed_hosts(host, [])
    for name in ("*", "study.example:80", "http://study.example", ""):
        with pytest.raises(ValueError, match="--allow-host: found"):
            allowed_hosts("127.0.0.1", [name])


def test_a_port_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port: found {port} on 127.0.0.1 that cannot be had"):
            serve(folder, "127.0.0.1", port)
    with pytest.raises(ValueError, match="--port: found 70000, expected 0 to 65535"):
        serve(folder, "127.0.0.1", 70000)
