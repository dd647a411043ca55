#!/usr/bin/env python3
"""Starts the server with the demo model and its rule set on a device, and asks it many things at once.

    ask_server.py BINARY [DEVICE]       DEVICE is cuda, or cpu to see what it should look like
"""
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor

CALLS = 32
TOKENS = 64


def main():
    binary, device = (sys.argv[1:] + ["cuda"])[:2]
    with tempfile.TemporaryDirectory() as data_dir:
        command = [binary, "serve", "--device", device, "--bind", "127.0.0.1:0", "--data-dir", data_dir]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url, key = await_welcome(server)
            with ThreadPoolExecutor(CALLS) as pool:
                answers = list(pool.map(lambda seed: ask(url, key, seed), range(CALLS)))
        finally:
            server.terminate()
            status = server.wait(timeout=30)
    reasons = {answer["choices"][0]["finish_reason"] for answer in answers}
    tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    print(f"{len(answers)} answers of {tokens} tokens, which ended by {', '.join(sorted(reasons))}")
    print(answers[0]["choices"][0]["message"]["content"])
    return status


def await_welcome(server):
    """The address and the demo's key, from what the server prints when it is ready."""
    welcome = ""
    for line in server.stdout:
        welcome += line
        print(line, end="")
        if found := re.search(r"(http://[0-9.:]+).*inference key +(pk-\w+)", welcome, re.DOTALL):
            return found.groups()
    sys.exit(f"the server ended with status {server.wait()} before it was ready")


def ask(url, key, seed):
    body = {"model": "demo", "messages": [{"role": "user", "content": "Tell me about savings"}],
            "seed": seed, "max_tokens": TOKENS, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
