"""Clients as people make them: with the retries that they have by default."""

import openai
import pytest


@pytest.fixture(scope="session")
def client(base_url, key):
    return openai.OpenAI(base_url=base_url, api_key=key)


@pytest.fixture(scope="session")
def refused_client(base_url, refused_key):
    return openai.OpenAI(base_url=base_url, api_key=refused_key)
