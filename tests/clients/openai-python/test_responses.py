"""openai-python, unmodified: POST /v1/responses."""

from typing import Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict

from serving import ENDLESS

QUESTION = "When are you open?"
ROUTE = "/v1/responses"


class LookUp(BaseModel):
    """Looks something up about the bank."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["hours", "fees"]


TOOL = openai.pydantic_function_tool(LookUp, name="look_up")["function"] | {"type": "function"}


def test_answers(client, model):
    answer = client.responses.create(model=model, instructions="Be short.", input=QUESTION, temperature=0)
    assert answer.status == "completed"
    assert len(answer.output_text) > 10
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_streams_the_same_answer(client, model):
    ask = dict(model=model, input=QUESTION, temperature=0)
    whole = client.responses.create(**ask)
    with client.responses.stream(**ask) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert [e.sequence_number for e in events] == sorted({e.sequence_number for e in events})
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_a_length_leaves_it_incomplete(client, model):
    answer = client.responses.create(model=model, input=QUESTION, max_output_tokens=3)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_uses_a_tool(client, model):
    asked = [{"role": "user", "content": QUESTION}]
    answer = client.responses.create(model=model, input=asked, tools=[TOOL], tool_choice="required")
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "look_up"
    LookUp.model_validate_json(call.arguments)

    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Nine to five."}
    told = client.responses.create(model=model, input=[*asked, call, result], tools=[TOOL])
    assert told.output


def test_a_call_streams(client, model):
    with client.responses.stream(model=model, input=QUESTION, tools=[TOOL], tool_choice="required") as stream:
        events = list(stream)
        (call,) = [item for item in stream.get_final_response().output if item.type == "function_call"]
    pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == call.arguments
    LookUp.model_validate_json(call.arguments)


def test_parses_a_schema(client, model):
    answer = client.responses.parse(model=model, input=QUESTION, text_format=LookUp)
    assert answer.output_parsed.topic in ("hours", "fees")


def test_mistakes_have_a_name(client, model):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nothing", input=QUESTION)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=model, input=QUESTION, temperature=9)
    assert error.value.param == "temperature"
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as error:
        client.responses.create(model=model, input=QUESTION, previous_response_id="resp_unknown")
    assert "previous_response_id" in str(error.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_sent_once(refused_client, model, refused_once, stream):
    with refused_once(ROUTE), pytest.raises(openai.BadRequestError) as error:
        refused_client.responses.create(model=model, input=QUESTION, stream=stream)
    assert error.value.type == "admissibility_error"


def test_cancels_a_stream(client, model, cancelled_once):
    with cancelled_once():
        stream = client.responses.create(
            model=model, input=QUESTION, max_output_tokens=1500, extra_body={"logit_bias": ENDLESS}, stream=True
        )
        texts = (event for event in stream if event.type == "response.output_text.delta")
        assert len([next(texts) for _ in range(3)]) == 3
        stream.close()
