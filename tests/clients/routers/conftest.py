"""Two servers that know the same keys, and a router before them."""

import json
import pathlib
import shutil
import socket
import string
import subprocess
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import openai
import pytest

from serving import Server

FOLDER = pathlib.Path(__file__).parent
START_SECONDS_MAX = 60


class Pair:
    """Two servers, the second with a copy of the first one's keys and rule sets."""

    def __init__(self, folder):
        first, second = folder / "first", folder / "second"
        first.mkdir()
        maker = Server(first)
        self.key = maker.create_key("inference", "tests")["key"]
        self.refused_key = maker.create_refused_key()
        assert maker.stop() == 0
        shutil.copytree(first, second)
        self.servers = [Server(first), Server(second)]

    def answers(self, route, status):
        return sum(server.answers(route, status) for server in self.servers)

    def refusals(self):
        return sum(server.refusals() for server in self.servers)

    def cancelled(self):
        return sum(server.cancelled() for server in self.servers)

    def stop(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.stop()


@pytest.fixture(scope="module", params=["smg", "envoy"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pair(kind, tmp_path_factory):
    """One pair for each router, since a server is killed at the end."""
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()


@pytest.fixture(scope="module")
def router(kind, pair, tmp_path_factory):
    """The router's address; one that stops by itself fails the test."""
    folder = tmp_path_factory.mktemp(kind)
    process, url = {"smg": start_smg, "envoy": start_envoy}[kind](pair, folder)
    yield url
    assert process.poll() is None, (folder / "log").read_text()
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture
def client(router, pair):
    return openai.OpenAI(base_url=f"{router}/v1", api_key=pair.key)


@pytest.fixture
def refused_client(router, pair):
    return openai.OpenAI(base_url=f"{router}/v1", api_key=pair.refused_key)


def start_smg(pair, folder):
    """The workers are registered each with a key to ask their model by. With `--api-key` SMG would
    ask that one key of every client; so each client's own key goes through."""
    port, metrics_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    at = ["--host", "127.0.0.1", "--port", str(port), "--prometheus-host", "127.0.0.1"]
    policy = ["--prometheus-port", str(metrics_port), "--policy", "round_robin", "--health-check-interval-secs", "1"]
    process = start(folder, "smg", "launch", *at, *policy)
    wait_for(process, folder, lambda: get(f"{url}/workers") is not None)
    for server in pair.servers:
        worker = json.dumps({"url": server.url, "api_key": pair.key}).encode()
        sent = urllib.request.Request(f"{url}/workers", worker, {"Content-Type": "application/json"})
        urllib.request.urlopen(sent, timeout=10).close()
    wait_for(process, folder, lambda: get(f"{url}/workers").count('"status":"ready"') == len(pair.servers))
    return process, url


def start_envoy(pair, folder):
    ports = [urlsplit(server.url).port for server in pair.servers]
    template = string.Template((FOLDER / "envoy.yaml").read_text())
    (folder / "envoy.yaml").write_text(template.substitute(first_port=ports[0], second_port=ports[1]))
    admin = folder / "admin"
    alone = ["--concurrency", "1", "--disable-hot-restart", "--admin-address-path", str(admin)]
    process = start(folder, "envoy", "-c", str(folder / "envoy.yaml"), *alone)
    wait_for(process, folder, admin.exists)
    wait_for(process, folder, lambda: get(f"http://{admin.read_text()}/ready") == "LIVE\n")
    listeners = json.loads(get(f"http://{admin.read_text()}/listeners?format=json"))["listener_statuses"]
    port = listeners[0]["local_address"]["socket_address"]["port_value"]
    return process, f"http://127.0.0.1:{port}"


def start(folder, *command):
    log = open(folder / "log", "w")
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def wait_for(process, folder, is_there):
    deadline = time.monotonic() + START_SECONDS_MAX
    while not is_there():
        starting = process.poll() is None and time.monotonic() < deadline
        assert starting, f"the router did not start:\n{(folder / 'log').read_text()}"
        time.sleep(0.05)


def get(url):
    """The answer's text; None while nobody answers."""
    try:
        return urllib.request.urlopen(url, timeout=5).read().decode()
    except (urllib.error.URLError, ConnectionError):
        return None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
