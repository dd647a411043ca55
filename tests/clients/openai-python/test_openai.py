"""openai-python, unmodified: what people do first, and what they do under load."""

import asyncio

import openai
import pytest

from serving import ENDLESS

QUESTION = [{"role": "user", "content": "What are your opening hours?"}]


def test_lists_models(client, model):
    assert client.models.retrieve(model).id == model


def test_chats(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert len(choice.message.content) > 10
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streams_the_same_answer(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_seeds_repeat_and_choices_differ(client, model):
    ask = lambda: client.chat.completions.create(model=model, messages=QUESTION, temperature=1, seed=7, n=3)
    first, second = ask(), ask()
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) > 1


def test_stop_strings_and_lengths(client, model):
    stopped = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, stop=[" "])
    assert stopped.choices[0].finish_reason == "stop"
    assert " " not in stopped.choices[0].message.content
    short = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 3


def test_completions(client, model):
    answer = client.completions.create(model=model, prompt="The branch is", max_tokens=8, temperature=0)
    assert answer.choices[0].text
    text = "".join(
        c.choices[0].text
        for c in client.completions.create(
            model=model, prompt="The branch is", max_tokens=8, temperature=0, stream=True
        )
        if c.choices
    )
    assert text == answer.choices[0].text


def test_a_refusal_is_sent_once(refused_client, model, refused_once):
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        refused_client.chat.completions.create(model=model, messages=QUESTION)
    assert error.value.type == "admissibility_error"
    with refused_once(), pytest.raises(openai.BadRequestError) as error:
        refused_client.chat.completions.create(model=model, messages=QUESTION, stream=True)
    assert error.value.type == "admissibility_error"


def test_cancels_a_stream(client, model, cancelled_once):
    with cancelled_once():
        stream = client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=1500, logit_bias=ENDLESS, stream=True
        )
        assert len([next(stream) for _ in range(5)]) == 5
        stream.close()


def test_mistakes_have_a_name(base_url, client, model):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=model, messages=QUESTION, temperature=9)
    assert error.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nothing", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=base_url, api_key="pk-wrong").models.list()


def test_many_streams_at_once_are_the_answers_alone(base_url, key, model):
    """64 streams of different lengths: all finish, and each is what the call gets alone."""
    topics = ["opening hours", "a lost card", "transfer fees", "a mortgage", "savings", "branches", "complaints", "my balance"]
    calls = [
        dict(
            messages=[{"role": "user", "content": f"Question {i}: tell me about {topics[i % len(topics)]}."}],
            temperature=0,
            max_tokens=10 + i,
        )
        for i in range(64)
    ]

    async def answer(client, call):
        stream = await client.chat.completions.create(model=model, stream=True, **call)
        text, reason = "", None
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
        return text, reason

    async def crowd():
        async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
            together = await asyncio.gather(*(answer(client, call) for call in calls))
            alone = [await answer(client, call) for call in calls]
        return together, alone

    together, alone = asyncio.run(crowd())
    assert all(reason in ("stop", "length") for _, reason in together)
    assert together == alone
