"""anthropic, the Python SDK, unmodified, with the retries that it has by default: /v1/messages."""

from typing import Literal

import anthropic
import pytest
from pydantic import BaseModel

from serving import ENDLESS

QUESTION = [{"role": "user", "content": "When are you open?"}]
ROUTE = "/v1/messages"
TOOL = {
    "name": "look_up",
    "description": "Looks something up about the bank.",
    "input_schema": {
        "type": "object",
        "properties": {"topic": {"type": "string", "enum": ["hours", "fees"]}},
        "required": ["topic"],
        "additionalProperties": False,
    },
}


class Topic(BaseModel):
    """What the question is about."""

    topic: Literal["hours", "fees"]


@pytest.fixture(scope="module", params=["api_key", "auth_token"])
def client(server, key, request):
    """`x-api-key` and `Authorization: Bearer`: people have both."""
    return anthropic.Anthropic(base_url=server.url, **{"api_key": None, request.param: key})


# The SDK has no `temperature` of its own any more.
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def ask(client, model):
    return lambda **options: client.messages.create(
        **({"model": model, "max_tokens": 64, "messages": QUESTION} | options)
    )


def prompt_tokens(message):
    """What was read from the cache is counted apart."""
    return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_lists_models(client, model):
    assert [listed.id for listed in client.models.list()] == [model]


def test_chats(ask):
    answer = ask(extra_body=GREEDY, system="Be short.")
    assert answer.type == "message" and answer.role == "assistant"
    assert len(answer.content[0].text) > 10
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


def test_lengths_and_stop_sequences(ask):
    short = ask(max_tokens=3)
    assert short.stop_reason == "max_tokens" and short.usage.output_tokens == 3
    stopped = ask(extra_body=GREEDY, stop_sequences=[" "])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == " "
    assert " " not in stopped.content[0].text


def test_streams_the_same_answer(client, ask, model):
    whole = ask(extra_body=GREEDY)
    with client.messages.stream(model=model, max_tokens=64, messages=QUESTION, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert prompt_tokens(final) == prompt_tokens(whole)


def test_counts_what_a_call_would_cost(client, ask, model):
    counted = client.messages.count_tokens(model=model, messages=QUESTION, system="Be short.", tools=[TOOL])
    assert counted.input_tokens == prompt_tokens(ask(system="Be short.", tools=[TOOL]))


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look_up"}])
def test_uses_a_tool(ask, choice):
    answer = ask(tools=[TOOL], tool_choice=choice)
    assert answer.stop_reason == "tool_use"
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.name == "look_up" and call.input["topic"] in ("hours", "fees")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Nine to five."}
    told = [*QUESTION, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert ask(messages=told, tools=[TOOL], tool_choice={"type": "none"}).content[0].text


def test_a_call_streams(client, model):
    with client.messages.stream(
        model=model, max_tokens=64, messages=QUESTION, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        final = stream.get_final_message()
    (call,) = [block for block in final.content if block.type == "tool_use"]
    assert final.stop_reason == "tool_use"
    assert call.name == "look_up" and call.input["topic"] in ("hours", "fees")


def test_parses_a_schema(client, model):
    answer = client.messages.parse(model=model, max_tokens=64, messages=QUESTION, output_format=Topic)
    assert answer.parsed_output.topic in ("hours", "fees")


def test_mistakes_have_a_name(server, ask):
    with pytest.raises(anthropic.NotFoundError) as error:
        ask(model="nothing")
    assert error.value.body["type"] == "error" and error.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as error:
        ask(extra_body={"temperature": 9})
    assert "temperature" in error.value.body["error"]["message"]
    with pytest.raises(anthropic.AuthenticationError) as error:
        stranger = anthropic.Anthropic(base_url=server.url, api_key="pk-wrong")
        stranger.messages.create(model="demo", max_tokens=8, messages=QUESTION)
    assert error.value.body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_sent_once(server, model, refused_key, refused_once, stream):
    client = anthropic.Anthropic(base_url=server.url, api_key=refused_key)
    with refused_once(ROUTE), pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(model=model, max_tokens=64, messages=QUESTION, stream=stream)
    assert error.value.body["error"]["type"] == "admissibility_error"
    assert "refuse-all" in error.value.body["error"]["message"]


def test_cancels_a_stream(ask, cancelled_once):
    with cancelled_once():
        stream = ask(max_tokens=1500, stream=True, extra_body={"logit_bias": ENDLESS})
        texts = (event for event in stream if event.type == "content_block_delta")
        assert len([next(texts) for _ in range(3)]) == 3
        stream.close()
