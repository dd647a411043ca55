"""The release binary as the suites see it: one running server, its keys, its counters."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PORTCULLIS_BINARY", ROOT / "target" / "release" / "portcullis"))
START_SECONDS_MAX = 60
SETTLE_SECONDS_MAX = 20

# The demo model's <|end_of_text|> and <|eot_id|>. Without them it never comes to an end, so that
# there is a middle to cancel in. Every client can send a bias; few can send `ignore_eos`.
ENDLESS = {"1273": -100, "1276": -100}

# Refuses every answer before its first character gets out.
REFUSE_ALL = """
ruleset: refuse-all
version: 1
mode: enforce
rules:
  - {id: silence, why: "a client under test has to see a refusal", regex: "(?s).", action: reject}
tests:
  - {rule: silence, should_fail: "a"}
"""


def settles_at(read, value):
    """Counters move a moment after the answer: whether this one gets to `value`, and stays."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while read() < value and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    return read() == value


class Server:
    """A running `portcullis serve` with the demo model, and a data folder of its own."""

    def __init__(self, data_dir, *arguments):
        self.data_dir = data_dir
        log = open(data_dir / "serve.log", "w")
        command = [BINARY, "serve", "--bind", "127.0.0.1:0", "--data-dir", data_dir, *arguments]
        # The rule sets of these tests need no author of their own.
        environment = os.environ | {"PORTCULLIS_RULE_SIGNATURES": "allow_unsigned"}
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.url = self._wait_for_url()

    def create_key(self, role, name):
        """A new key, through the command line on the data folder: its `id` and the `key` itself."""
        command = [BINARY, "keys", "create", "--role", role, "--name", name, "--json", "--data-dir", self.data_dir]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    def create_refused_key(self):
        """A key whose every answer the gate refuses."""
        admin, refused = self.create_key("admin", "gatekeeper")["key"], self.create_key("inference", "refused")
        self.request("/v1/rulesets", admin, REFUSE_ALL, "application/yaml")
        self.request("/v1/rulesets/refuse-all/versions/1/activate", admin, "")
        self.request("/v1/rulesets/refuse-all/bindings", admin, json.dumps({"key": refused["id"]}))
        return refused["key"]

    def request(self, path, key, body=None, kind="application/json", headers=()):
        """Sends it as it is and gives back the answer, whose body is yet to be read."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": kind, **dict(headers)}
        data = None if body is None else body.encode()
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=60)

    def counters(self):
        """Every line of /metrics."""
        lines = urllib.request.urlopen(f"{self.url}/metrics", timeout=10).read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def answers(self, route, status):
        """How many calls of this route got this status."""
        return self.counters().get(f'portcullis_http_answers_total{{route="{route}",status="{status}"}}', 0)

    def cancelled(self):
        """How many calls were given up by their clients."""
        return sum(value for name, value in self.counters().items() if name.startswith("portcullis_cancelled_total"))

    def refusals(self):
        """How many answers the gate refused."""
        return sum(value for name, value in self.counters().items() if name.startswith("portcullis_gate_refusals_total"))

    def busy(self):
        """How many calls run or wait; one that goes on without its client is among them."""
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        return sum(value for name, value in self.counters().items() if name.startswith(names))

    def output(self):
        return (self.data_dir / "serve.log").read_text()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def _wait_for_url(self):
        """The address from the server's own words, once it says that it is ready."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = re.search(r"http://127\.0\.0\.1:\d+", self.output())
            if found and self._is_healthy(found.group()):
                return found.group()
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.output()}")

    @staticmethod
    def _is_healthy(url):
        try:
            return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
        except OSError:
            return False
