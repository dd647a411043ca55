"""What the suites share: one server a suite, its keys, and the laws that hold for every client."""

import contextlib
import pathlib
import tempfile

import pytest

from serving import Server, settles_at


@pytest.fixture(scope="session")
def server():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder))
        yield server
        assert server.stop() == 0, server.output()


@pytest.fixture(scope="session")
def base_url(server):
    return f"{server.url}/v1"


@pytest.fixture(scope="session")
def model():
    """The name that clients send."""
    return "demo"


@pytest.fixture(scope="session")
def key(server):
    """The demo rule set holds for it."""
    return server.create_key("inference", "tests")["key"]


@pytest.fixture(scope="session")
def refused_key(server):
    """The gate refuses each of its answers before the first character."""
    return server.create_refused_key()


@pytest.fixture
def refused_once(server):
    """What happens inside is one refusal, and one answer 400 to one call: the client tried no second time."""

    @contextlib.contextmanager
    def watch(route="/v1/chat/completions"):
        calls, refusals = server.answers(route, 400), server.refusals()
        yield
        assert server.answers(route, 400) == calls + 1
        assert settles_at(server.refusals, refusals + 1)

    return watch


@pytest.fixture
def cancelled_once(server):
    """What happens inside gives up one call, and afterwards nothing runs."""

    @contextlib.contextmanager
    def watch():
        cancelled = server.cancelled()
        yield
        assert settles_at(server.cancelled, cancelled + 1)
        assert server.busy() == 0

    return watch
