"""litellm, unmodified, with the retries that it has by default."""

import json
from typing import Literal

import litellm
import pytest
from pydantic import BaseModel

from serving import ENDLESS

QUESTION = [{"role": "user", "content": "When are you open?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["hours", "fees"]}},
    "required": ["topic"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks it up.", "parameters": PARAMETERS}}


class Topic(BaseModel):
    """What the question is about."""

    topic: Literal["hours", "fees"]


@pytest.fixture(scope="module")
def ask(base_url, key, model):
    """One call; options are those of litellm.completion."""

    def call(**options):
        given = {"model": f"openai/{model}", "api_base": base_url, "api_key": key, "messages": QUESTION}
        return litellm.completion(**(given | options))

    return call


def test_lists_models(base_url, key, model):
    listed = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_key=key, api_base=base_url.removesuffix("/v1")
    )
    assert listed == [f"openai/{model}"] or listed == [model]


def test_chats(ask):
    answer = ask(temperature=0)
    assert len(answer.choices[0].message.content) > 10
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streams_the_same_answer(ask):
    whole = ask(temperature=0)
    pieces = list(ask(temperature=0, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_uses_a_tool(ask):
    choice = ask(tools=[TOOL], tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["topic"] in ("hours", "fees")
    result = {"role": "tool", "tool_call_id": call.id, "content": "Nine to five."}
    assert ask(messages=[*QUESTION, choice.message, result]).choices[0].message.content


def test_a_call_streams(ask):
    pieces = list(ask(tools=[TOOL], tool_choice="required", stream=True))
    (call,) = litellm.stream_chunk_builder(pieces, messages=QUESTION).choices[0].message.tool_calls
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["topic"] in ("hours", "fees")


def test_parses_a_schema(ask):
    answer = ask(response_format=Topic).choices[0].message.content
    assert Topic.model_validate_json(answer)


def test_mistakes_have_a_name(ask):
    with pytest.raises(litellm.NotFoundError):
        ask(model="openai/nothing")
    with pytest.raises(litellm.AuthenticationError):
        ask(api_key="pk-wrong")
    with pytest.raises(litellm.BadRequestError) as error:
        ask(temperature=9)
    assert "temperature" in str(error.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_sent_once(ask, refused_key, refused_once, stream):
    with refused_once(), pytest.raises(litellm.BadRequestError) as error:
        ask(api_key=refused_key, stream=stream)
    assert "refuse-all" in str(error.value)


def test_cancels_a_stream(ask, cancelled_once):
    with cancelled_once():
        stream = ask(max_tokens=1500, logit_bias=ENDLESS, stream=True)
        assert len([next(stream) for _ in range(5)]) == 5
        # What its users reach for: the wrapper itself has no close().
        stream.completion_stream.close()
