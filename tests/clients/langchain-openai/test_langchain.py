"""langchain-openai, unmodified, with the retries that it has by default."""

from typing import Literal

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from serving import ENDLESS

QUESTION = "When are you open?"


class Topic(BaseModel):
    """What the question is about."""

    topic: Literal["hours", "fees"]


@tool
def look_up(topic: Literal["hours", "fees"]) -> str:
    """Looks something up about the bank."""
    return f"The {topic}: nine to five."


@pytest.fixture(scope="module")
def ask(base_url, key, model):
    """Makes a chat model; options are those of ChatOpenAI."""

    def make(**options):
        return ChatOpenAI(**({"base_url": base_url, "api_key": key, "model": model} | options))

    return make


def test_lists_models(ask, model):
    assert [listed.id for listed in ask().root_client.models.list()] == [model]


def test_chats(ask):
    answer = ask(temperature=0).invoke(QUESTION)
    assert len(answer.content) > 10
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0


def test_streams_the_same_answer(ask):
    whole = ask(temperature=0).invoke(QUESTION)
    pieces = list(ask(temperature=0, stream_usage=True).stream(QUESTION))
    assert len(pieces) > 3
    assert "".join(piece.content for piece in pieces) == whole.content
    usage = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    assert usage[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]


@pytest.mark.parametrize("choice", ["required", "look_up"])
def test_uses_a_tool(ask, choice):
    chat = ask().bind_tools([look_up], tool_choice=choice, strict=True)
    asked = HumanMessage(QUESTION)
    answer = chat.invoke([asked])
    (call,) = answer.tool_calls
    assert call["name"] == "look_up" and call["args"]["topic"] in ("hours", "fees")
    result = look_up.invoke(call)
    assert isinstance(result, ToolMessage)
    assert ask().invoke([asked, answer, result]).content


def test_a_call_streams(ask):
    pieces = ask().bind_tools([look_up], tool_choice="required", strict=True).stream(QUESTION)
    whole = next(pieces)
    for piece in pieces:
        whole += piece
    (call,) = whole.tool_calls
    assert call["name"] == "look_up" and call["args"]["topic"] in ("hours", "fees")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_parses_a_schema(ask, method):
    parsed = ask().with_structured_output(Topic, method=method, strict=True).invoke(QUESTION)
    assert parsed.topic in ("hours", "fees")


def test_mistakes_have_a_name(ask):
    with pytest.raises(openai.NotFoundError):
        ask(model="nothing").invoke(QUESTION)
    with pytest.raises(openai.AuthenticationError):
        ask(api_key="pk-wrong").invoke(QUESTION)
    with pytest.raises(openai.BadRequestError) as error:
        ask(temperature=9).invoke(QUESTION)
    assert error.value.param == "temperature"


def test_a_refusal_is_sent_once(ask, refused_key, refused_once):
    chat = ask(api_key=refused_key)
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        chat.invoke(QUESTION)
    assert error.value.type == "admissibility_error"
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        list(chat.stream(QUESTION))
    assert error.value.type == "admissibility_error"


def test_cancels_a_stream(ask, cancelled_once):
    with cancelled_once():
        pieces = ask(max_tokens=1500, logit_bias=ENDLESS).stream(QUESTION)
        assert len([next(pieces) for _ in range(5)]) == 5
        pieces.close()
