"""What Codex and Claude Code sent, sent again: the server takes it, and answers with a well-formed stream.

The recordings come from agents/record.py. They hold every field, and no text of the tools' makers.
"""

import json
import pathlib
import urllib.error
import urllib.request

import pytest

from serving import ENDLESS

RECORDED = sorted(pathlib.Path(__file__).parent.glob("*.json"))
CLAUDE = [path for path in RECORDED if path.name.startswith("claude")]
# The connection is urllib's own affair, and the length is that of the text that was left out.
NOT_SENT = {"connection", "content-length", "accept-encoding"}


def one_tool_of_each_kind(body):
    """Fewer tools, so that the demo model's context holds them; every other field as it was sent."""
    kinds = {(tool.get("type"), "defer_loading" in tool): tool for tool in reversed(body["tools"])}
    first = {name: inner[:1] if name == "tools" else inner for name, inner in kinds.pop(("namespace", False), {}).items()}
    return body | {"tools": [*kinds.values(), *([first] if first else [])]}


def replay(server, path, key, change=one_tool_of_each_kind, suffix=""):
    request = json.loads(path.read_text())
    headers = {name: value for name, value in request["headers"].items() if name.lower() not in NOT_SENT}
    headers = {name: value.replace("dummy", key) for name, value in headers.items()}
    route, _, query = request["path"].partition("?")
    url = f"{server.url}{route}{suffix}" + (f"?{query}" if query else "")
    body = json.dumps(change(request["body"])).encode()
    sent = urllib.request.Request(url, body, headers, method=request["method"])
    return urllib.request.urlopen(sent, timeout=120)


def events(answer):
    """The events of a stream, whose names must be their types."""
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    for block in answer.read().decode().removesuffix("\n\n").split("\n\n"):
        fields = [line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")]
        if not fields or fields == [["data", "[DONE]"]]:
            continue
        named = dict(fields)
        event = json.loads(named["data"])
        assert named["event"] == event["type"]
        yield event


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_answers_with_a_well_formed_stream(server, key, path):
    check = check_messages if path in CLAUDE else check_responses
    check(list(events(replay(server, path, key))))


def check_responses(events):
    """Source: the streaming events of OpenAI's Responses API."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    response = events[-1]["response"]
    assert response["id"] == events[0]["response"]["id"]
    assert response["usage"]["output_tokens"] > 0
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert added == [item["id"] for item in done]
    assert done == response["output"]
    for item in done:
        if item["type"] == "message":
            said = [e["delta"] for e in events if e["type"] == "response.output_text.delta" and e["item_id"] == item["id"]]
            assert "".join(said) == "".join(part["text"] for part in item["content"])


def check_messages(events):
    """Source: the streaming events of Anthropic's Messages API."""
    events = [event for event in events if event["type"] != "ping"]
    first, *blocks, delta, last = events
    assert first["type"] == "message_start"
    assert first["message"]["role"] == "assistant" and first["message"]["usage"]["input_tokens"] > 0
    assert delta["type"] == "message_delta"
    assert delta["delta"]["stop_reason"] in ("end_turn", "max_tokens", "tool_use")
    assert delta["usage"]["output_tokens"] > 0
    assert last["type"] == "message_stop"
    open_block = None
    for event in blocks:
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
            continue
        assert event["index"] == open_block
        if event["type"] == "content_block_stop":
            open_block = None
        else:
            assert event["type"] == "content_block_delta"
    assert open_block is None


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_all_of_it_is_understood(server, key, path):
    """With all tools it is only too long for the demo model, which shows once it is read and rendered."""
    with pytest.raises(urllib.error.HTTPError) as error:
        replay(server, path, key, lambda body: body)
    assert error.value.code == 400
    assert json.loads(error.value.read())["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_refusal_is_an_error_of_its_own_kind(server, refused_key, path):
    def talkative(body):
        return one_tool_of_each_kind(body) | {"logit_bias": ENDLESS}

    with pytest.raises(urllib.error.HTTPError) as error:
        replay(server, path, refused_key, talkative)
    assert error.value.code == 400
    assert json.loads(error.value.read())["error"]["type"] == "admissibility_error"


@pytest.mark.parametrize("path", CLAUDE, ids=lambda path: path.stem)
def test_counts_what_it_would_send(server, key, path):
    def counted(body):
        kept = ("model", "messages", "system", "tools", "thinking")
        return {name: value for name, value in one_tool_of_each_kind(body).items() if name in kept}

    whole = json.loads(replay(server, path, key, counted, "/count_tokens").read())["input_tokens"]
    usage = next(events(replay(server, path, key)))["message"]["usage"]
    assert whole == usage["input_tokens"] + usage.get("cache_read_input_tokens", 0)


def test_head_of_the_root_answers(server):
    """Claude Code asks for it, without a key, to see whether somebody is there."""
    answer = urllib.request.urlopen(urllib.request.Request(server.url, method="HEAD"), timeout=10)
    assert answer.status == 200 and answer.read() == b""
