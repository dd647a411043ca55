"""llama-index-llms-openai-like, unmodified, with the retries that it has by default."""

import gc
from typing import Literal

import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, ConfigDict

from serving import ENDLESS

QUESTION = "When are you open?"
ASKED = [ChatMessage(role="user", content=QUESTION)]


class Topic(BaseModel):
    """What the question is about."""

    # An open schema would let the demo model go on with properties of its own.
    model_config = ConfigDict(extra="forbid")
    topic: Literal["hours", "fees"]


def look_up(topic: Literal["hours", "fees"]) -> str:
    """Looks something up about the bank."""
    return f"The {topic}: nine to five."


TOOL = FunctionTool.from_defaults(look_up, fn_schema=Topic)


@pytest.fixture(scope="module")
def ask(base_url, key, model):
    """Makes a chat model; options are those of OpenAILike."""

    def make(**options):
        given = {"api_base": base_url, "api_key": key, "model": model, "context_window": 2048}
        return OpenAILike(is_chat_model=True, is_function_calling_model=True, **(given | options))

    return make


def test_lists_models(ask, model):
    assert [listed.id for listed in ask()._get_client().models.list()] == [model]


def test_chats(ask):
    answer = ask(temperature=0).chat(ASKED)
    assert len(answer.message.content) > 10
    assert answer.raw.choices[0].finish_reason == "stop"


def test_completes(base_url, key, model):
    plain = OpenAILike(api_base=base_url, api_key=key, model=model, is_chat_model=False, max_tokens=8)
    assert plain.complete("The branch is").text


def test_streams_the_same_answer(ask):
    whole = ask(temperature=0).chat(ASKED).message.content
    pieces = list(ask(temperature=0).stream_chat(ASKED))
    assert len(pieces) > 3
    assert "".join(piece.delta or "" for piece in pieces) == whole


def test_uses_a_tool(ask):
    chat = ask()
    answer = chat.chat_with_tools([TOOL], user_msg=QUESTION, tool_required=True)
    (call,) = chat.get_tool_calls_from_response(answer)
    assert call.tool_name == "look_up" and call.tool_kwargs["topic"] in ("hours", "fees")
    result = ChatMessage(role="tool", content=look_up(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id})
    assert chat.chat([*ASKED, answer.message, result]).message.content


def test_a_call_streams(ask):
    chat = ask()
    *_, last = chat.stream_chat_with_tools([TOOL], user_msg=QUESTION, tool_required=True)
    (call,) = chat.get_tool_calls_from_response(last)
    assert call.tool_name == "look_up" and call.tool_kwargs["topic"] in ("hours", "fees")


@pytest.mark.parametrize("by_schema", [True, False])
def test_parses_a_schema(ask, by_schema):
    parsed = ask(should_use_structured_outputs=by_schema).structured_predict(Topic, PromptTemplate(QUESTION))
    assert parsed.topic in ("hours", "fees")


def test_mistakes_have_a_name(ask):
    with pytest.raises(openai.NotFoundError):
        ask(model="nothing").chat(ASKED)
    with pytest.raises(openai.AuthenticationError):
        ask(api_key="pk-wrong").chat(ASKED)
    with pytest.raises(openai.BadRequestError) as error:
        ask(additional_kwargs={"top_p": 9}).chat(ASKED)
    assert error.value.param == "top_p"


def test_a_refusal_is_sent_once(ask, refused_key, refused_once):
    chat = ask(api_key=refused_key)
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        chat.chat(ASKED)
    assert error.value.type == "admissibility_error"
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        list(chat.stream_chat(ASKED))
    assert error.value.type == "admissibility_error"


def test_cancels_a_stream(ask, cancelled_once):
    with cancelled_once():
        pieces = ask(max_tokens=1500, additional_kwargs={"logit_bias": ENDLESS}).stream_chat(ASKED)
        assert len([next(pieces) for _ in range(5)]) == 5
        pieces.close()
        # The client keeps the traceback of the closing, and with it the connection, in a cycle.
        gc.collect()
