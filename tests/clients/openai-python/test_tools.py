"""openai-python, unmodified: tools and schemas, where a program reads what the model wrote."""

import json
from typing import Literal

import openai
from pydantic import BaseModel, ConfigDict

QUESTION = [{"role": "user", "content": "When are you open?"}]


class LookUp(BaseModel):
    """Looks something up about the bank."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["hours", "fees"]


TOOL = openai.pydantic_function_tool(LookUp, name="look_up")
NAMED = {"type": "function", "function": {"name": "look_up"}}


def test_uses_a_tool(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, tools=[TOOL], tool_choice="required")
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "look_up"
    LookUp.model_validate_json(call.function.arguments)

    result = {"role": "tool", "tool_call_id": call.id, "content": "Nine to five."}
    told = client.chat.completions.create(model=model, messages=[*QUESTION, choice.message, result], tools=[TOOL])
    assert told.choices[0].message.content or told.choices[0].message.tool_calls


def test_a_named_tool_is_called(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, tools=[TOOL], tool_choice=NAMED)
    # OpenAI says `stop` where the caller named the function.
    assert answer.choices[0].finish_reason == "stop"
    LookUp.model_validate_json(answer.choices[0].message.tool_calls[0].function.arguments)


def test_no_tool_is_called_where_none_may(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, tools=[TOOL], tool_choice="none")
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content


def test_a_call_streams_to_the_same_arguments(client, model):
    ask = dict(model=model, messages=QUESTION, tools=[TOOL], tool_choice="required", temperature=0)
    whole = client.chat.completions.create(**ask).choices[0].message.tool_calls[0]
    with client.chat.completions.stream(**ask) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    (call,) = final.message.tool_calls
    assert call.id and call.function.arguments == whole.function.arguments
    assert call.function.parsed_arguments == LookUp.model_validate_json(call.function.arguments)
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.arguments for event in done] == [call.function.arguments]


def test_parses_a_schema(client, model):
    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=LookUp)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.parsed.topic in ("hours", "fees")


def test_a_schema_streams(client, model):
    with client.chat.completions.stream(model=model, messages=QUESTION, response_format=LookUp) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed.topic in ("hours", "fees")


def test_writes_an_object(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, response_format={"type": "json_object"}, max_tokens=200, seed=1
    )
    choice = answer.choices[0]
    # Cut short, it is still the beginning of an object.
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)
