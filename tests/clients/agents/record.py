"""Records what Codex and Claude Code send, for tests/clients/recorded; run it after a new version.

    target/clients/agents/bin/python tests/clients/agents/record.py

A small server of its own answers each tool with a call of one of its tools and then with a text.
What is kept is the shape: names, types and short values. Texts of the tools' makers become a note
of their length, ids and paths of this machine become zeros.
"""

import http.server
import json
import pathlib
import re
import tempfile
import threading

import tools

RECORDED = pathlib.Path(__file__).parents[1] / "recorded"
PROMPT = "Say hello"
KEPT_CHARACTERS_MAX = 60

CALLS = {
    "/v1/responses": {"id": "fc_1", "call_id": "call_1", "name": "exec_command", "arguments": '{"cmd": "echo hello"}'},
    "/v1/messages": {"id": "toolu_1", "name": "Bash", "input": {"command": "echo hello", "description": "Says hello"}},
}


def main():
    for name, start in {"codex": tools.codex, "claude": tools.claude}.items():
        with tempfile.TemporaryDirectory() as home, Recorder() as recorder:
            home = pathlib.Path(home)
            version = tools.run(home, {}, name, "--version").stdout
            done = start(home, recorder.url, "dummy", PROMPT)
            assert done.returncode == 0, done.stderr
            version = re.search(r"\d+\.\d+\.\d+", version).group()
            for number, request in enumerate(recorder.requests, 1):
                path = RECORDED / f"{name}-{version}-{number}.json"
                path.write_text(json.dumps(shape(request), indent=1) + "\n")
                print(path.name, request["method"], request["path"], request["bytes"], "bytes")


class Recorder:
    """A server that keeps each request and answers as a model would."""

    def __enter__(self):
        self.requests = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                sent = {"method": self.command, "path": self.path, "bytes": len(body), "headers": dict(self.headers)}
                recorder.requests.append(sent | {"body": json.loads(body) if body else None})
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                route = self.path.split("?")[0]
                if route in CALLS:
                    told = b'"function_call_output"' in body or b'"tool_result"' in body
                    for event in events(route, None if told else CALLS[route]):
                        self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

            do_GET = do_HEAD = do_POST = answer

            def log_message(self, *_):
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def events(route, call):
    return responses_events(call) if route == "/v1/responses" else messages_events(call)


def responses_events(call):
    text = {"type": "output_text", "text": "Hello.", "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    item = {"type": "function_call", "status": "completed", **call} if call else message
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "demo", "output": []}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield {"type": "response.created", "response": response | {"status": "in_progress"}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    done = response | {"status": "completed", "output": [item], "usage": usage}
    yield {"type": "response.completed", "response": done}


def messages_events(call):
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "demo", "content": [], "usage": usage}
    yield {"type": "message_start", "message": message}
    if call:
        block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello."}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def shape(value, name=None):
    """The value without long texts, and without what is this machine's own."""
    if isinstance(value, dict):
        return {key: shape(inner, key) for key, inner in value.items() if key.lower() != "host"}
    if isinstance(value, list):
        return [shape(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "0" * 8, value)
    is_prose = name == "description" or len(value) > KEPT_CHARACTERS_MAX
    if is_prose and name != "anthropic-beta":
        return f"({len(value)} characters)"
    return value


if __name__ == "__main__":
    main()
