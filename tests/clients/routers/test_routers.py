"""Behind SMG and Envoy, unmodified: streams pass, a killed server is survived, a refusal is final."""

import openai
import pytest

from serving import ENDLESS, settles_at

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "When are you open?"}]


def ask(client, **options):
    return client.chat.completions.create(model="demo", messages=QUESTION, **options)


def test_streams_pass_from_both_servers(client, pair):
    whole = ask(client, temperature=0)
    for _ in range(8):
        chunks = list(ask(client, temperature=0, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(server.answers(CHAT, 200) >= 3 for server in pair.servers)


def test_a_stream_arrives_while_it_is_written(client, pair):
    stream = ask(client, max_tokens=1500, logit_bias=ENDLESS, stream=True)
    assert len([next(stream) for _ in range(2)]) == 2
    assert any(server.busy() for server in pair.servers)
    assert sum(1 for _ in stream) > 2


def test_a_refusal_reaches_one_server_once(refused_client, pair):
    for stream in (False, True):
        calls, refusals = pair.answers(CHAT, 400), pair.refusals()
        with pytest.raises(openai.BadRequestError) as error:
            ask(refused_client, stream=stream)
        assert error.value.type == "admissibility_error"
        assert error.value.code == "refuse-all@1/silence"
        assert settles_at(pair.refusals, refusals + 1)
        assert pair.answers(CHAT, 400) == calls + 1


def test_mistakes_keep_their_names(router, client):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, temperature=9)
    assert error.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        ask(openai.OpenAI(base_url=f"{router}/v1", api_key="pk-wrong"))


def test_a_client_that_leaves_is_noticed(client, pair):
    cancelled = pair.cancelled()
    stream = ask(client, max_tokens=1500, logit_bias=ENDLESS, stream=True)
    assert len([next(stream) for _ in range(5)]) == 5
    stream.close()
    assert settles_at(pair.cancelled, cancelled + 1)
    assert all(server.busy() == 0 for server in pair.servers)


def test_a_killed_server_is_survived(router, pair):
    """The last one, since one server is gone afterwards. The client itself tries nothing again."""
    client = openai.OpenAI(base_url=f"{router}/v1", api_key=pair.key, max_retries=0)
    killed, left = pair.servers
    killed.process.kill()
    killed.process.wait()
    before = left.answers(CHAT, 200)
    for stream in (False, True) * 5:
        answer = ask(client, stream=stream)
        if stream:
            assert [chunk.choices[0].finish_reason for chunk in answer if chunk.choices][-1] == "stop"
        else:
            assert answer.choices[0].finish_reason == "stop"
    assert left.answers(CHAT, 200) == before + 10
