"""One server for the whole run: the release binary, the demo model, a data folder of its own."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "portcullis"
START_SECONDS_MAX = 60


class Server:
    """A running `portcullis serve`."""

    def __init__(self, data_dir, *arguments):
        self.data_dir = data_dir
        self.log = open(data_dir / "serve.log", "w+")
        command = [BINARY, "serve", "--bind", "127.0.0.1:0", "--data-dir", data_dir, *arguments]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self.url = self._wait_for_url()

    def _wait_for_url(self):
        """The address from the server's own words, once it says that it is ready."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = re.search(r"http://127\.0\.0\.1:\d+", self.output())
            if found and self._is_healthy(found.group()):
                return found.group()
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.output()}")

    def output(self):
        return (self.data_dir / "serve.log").read_text()

    @staticmethod
    def _is_healthy(url):
        try:
            return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
        except urllib.error.URLError:
            return False

    def create_key(self, role, name):
        """A new key, through the command line on the data folder."""
        command = [BINARY, "keys", "create", "--role", role, "--name", name, "--json", "--data-dir", self.data_dir]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    def client(self, key, **options):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, **options)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def server():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder))
        yield server
        assert server.stop() == 0, server.output()


@pytest.fixture(scope="session")
def admin_key(server):
    return server.create_key("admin", "tests")["key"]


@pytest.fixture(scope="session")
def client(server):
    """A client whose key has the inference role; the demo rule set holds for the deployment."""
    return server.client(server.create_key("inference", "tests")["key"], max_retries=0)


@pytest.fixture(scope="session")
def model(client):
    return client.models.list().data[0].id
