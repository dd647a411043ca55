"""llm, the command-line tool, unmodified: configured by extra-openai-models.yaml as people do."""

import json
import os
import re
import signal
import subprocess

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli
from llm.parts import ToolCallPart, ToolResultPart

from serving import ENDLESS

QUESTION = "When are you open?"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"topic": {"type": "string", "enum": ["hours", "fees"]}},
        "required": ["topic"],
        "additionalProperties": False,
    }
)
LOOK_UP = '''
def look_up(topic: str) -> str:
    """Looks something up about the bank."""
    return "Nine to five."
'''
MODELS = """
- {{model_id: bank, model_name: {model}, api_base: "{url}", api_key_name: bank, supports_schema: true, supports_tools: true}}
- {{model_id: bank-responses, model_name: {model}, api_base: "{url}", api_key_name: bank, supports_schema: true, supports_tools: true, responses: true}}
- {{model_id: nothing, model_name: nothing, api_base: "{url}", api_key_name: bank}}
"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory, base_url, key, model):
    """The folder of llm's settings, with our models and the key in it."""
    home = tmp_path_factory.mktemp("llm")
    (home / "extra-openai-models.yaml").write_text(MODELS.format(url=base_url, model=model))
    (home / "keys.json").write_text(json.dumps({"bank": key}))
    os.environ["LLM_USER_PATH"] = str(home)
    return home


def run(*arguments):
    """The command line, in this process: loading llm anew takes longer than its call."""
    return CliRunner().invoke(cli, arguments)


def said(*arguments):
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.fixture(params=["bank", "bank-responses"])
def name(request):
    """The model over /v1/chat/completions, and over /v1/responses."""
    return request.param


def test_lists_models(base_url, key, model):
    assert model in said("openai", "endpoint", base_url, "--models", "--key", key).split()
    assert "bank" in said("models")


def test_chats_and_streams_the_same_answer(name):
    whole = said("-m", name, "-o", "temperature", "0", "--no-stream", QUESTION)
    assert len(whole) > 10
    assert said("-m", name, "-o", "temperature", "0", QUESTION) == whole


def test_goes_on_with_a_conversation(name):
    said("-m", name, QUESTION)
    assert said("-m", name, "-c", "And on Sundays?")


def test_counts_tokens(name):
    done = run("-m", name, "-u", QUESTION)
    assert re.search(r"Token usage: [1-9]\d* input, [1-9]\d* output", done.stderr), done.stderr


def test_uses_a_tool(name):
    """llm cannot force a call; the second half of a call is the same whoever decided on it."""
    assert said("-m", name, "--functions", LOOK_UP, QUESTION)
    model = llm.get_model(name)
    call = ToolCallPart(name="look_up", arguments={"topic": "hours"}, tool_call_id="call_1")
    result = ToolResultPart(name="look_up", output="Nine to five.", tool_call_id="call_1")
    asked = [llm.user(QUESTION), llm.assistant(call), llm.tool_message(result)]
    assert model.prompt(messages=asked).text()


def test_parses_a_schema(name):
    assert json.loads(said("-m", name, "--schema", SCHEMA, QUESTION))["topic"] in ("hours", "fees")


def test_mistakes_have_a_name(name):
    unknown = run("-m", "nothing", QUESTION)
    assert unknown.exit_code != 0 and "404" in unknown.stderr
    stranger = run("-m", name, "--key", "pk-wrong", QUESTION)
    assert stranger.exit_code != 0 and "401" in stranger.stderr


@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_a_refusal_is_sent_once(name, refused_key, refused_once, how):
    route = "/v1/responses" if name.endswith("responses") else "/v1/chat/completions"
    with refused_once(route):
        done = run("-m", name, "--key", refused_key, *how, QUESTION)
    assert done.exit_code != 0 and "refuse-all" in done.stderr


def test_cancels_a_stream(cancelled_once):
    command = ["llm", "-m", "bank", "-o", "max_tokens", "1500", "-o", "logit_bias", json.dumps(ENDLESS), QUESTION]
    with cancelled_once(), subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.read(20)
        process.send_signal(signal.SIGINT)
