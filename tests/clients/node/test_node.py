"""Starts the suites in JavaScript, each with node's own test runner, against the server of this run."""

import os
import pathlib
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).parent


@pytest.mark.parametrize("suite", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_suite(suite, server, key, refused_key, model):
    told = {"SERVER_URL": server.url, "API_KEY": key, "REFUSED_KEY": refused_key, "MODEL": model}
    command = ["node", "--test", "--test-reporter=spec", suite]
    done = subprocess.run(command, cwd=FOLDER, env=os.environ | told, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0
