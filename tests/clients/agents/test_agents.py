"""Codex and Claude Code, the command-line tools themselves, told to leave out most of what they
send by themselves: the demo model's context is small. All of it is in ../recorded."""

import pytest
import tools

START = {"codex": tools.codex, "claude": tools.claude}
ROUTES = {"codex": "/v1/responses", "claude": "/v1/messages"}


@pytest.fixture(params=START)
def agent(request):
    return request.param


@pytest.fixture
def ask(agent, server, tmp_path):
    return lambda key, model="demo": START[agent](tmp_path, server.url, key, "When are you open?", model, small=True)


def test_answers(agent, ask, server, key):
    before = server.answers(ROUTES[agent], 200)
    done = ask(key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert server.answers(ROUTES[agent], 200) == before + 1


def test_a_refusal_is_sent_once_and_shown(agent, ask, refused_key, refused_once):
    with refused_once(ROUTES[agent]):
        done = ask(refused_key)
    assert done.returncode != 0
    assert "refuse-all" in done.stdout + done.stderr


def test_an_unknown_key_is_named(server, tmp_path):
    """Codex alone: Claude Code goes on trying for minutes, whatever a 401 says."""
    done = tools.codex(tmp_path, server.url, "pk-wrong", "When are you open?", small=True)
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr
