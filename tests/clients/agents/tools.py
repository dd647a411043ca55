"""Starts the command-line tools as people do without a terminal, with nothing of this machine's own settings."""

import os
import pathlib
import subprocess

INSTALLED = pathlib.Path(__file__).parent / "node_modules"
PATIENCE_SECONDS = 120

CODEX_SETTINGS = """
model = "{model}"
model_provider = "portcullis"
[model_providers.portcullis]
name = "portcullis"
base_url = "{url}/v1"
env_key = "PORTCULLIS_API_KEY"
wire_api = "responses"
"""

# Leaves one tool and no text of Codex's own, so that a context of 2,048 tokens holds it.
CODEX_SMALL = """
model_instructions_file = "{home}/instructions"
include_permissions_instructions = false
include_environment_context = false
web_search = "disabled"
"""
CODEX_SMALL_TABLES = """
[features]
goals = false
multi_agent = false
shell_tool = false
unified_exec = false
[skills]
include_instructions = false
bundled.enabled = false
"""


def codex(home, url, key, prompt, model="demo", small=False):
    settings = home / ".codex"
    settings.mkdir(parents=True, exist_ok=True)
    (home / "instructions").write_text("Be short.\n")
    before, after = (CODEX_SMALL.format(home=home), CODEX_SMALL_TABLES) if small else ("", "")
    (settings / "config.toml").write_text(before + CODEX_SETTINGS.format(model=model, url=url) + after)
    return run(home, {"PORTCULLIS_API_KEY": key}, "codex", "exec", "--skip-git-repo-check", "--ephemeral", prompt)


def claude(home, url, key, prompt, model="demo", small=False):
    told = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    if small:
        # It takes a 400 for an unknown beta, and would try a refusal three times, each with one less.
        told["CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"] = "1"
    fewer = ["--bare", "--tools", "", "--system-prompt", "Be short."] if small else []
    return run(home, told, "claude", *fewer, "-p", prompt)


def run(home, told, name, *arguments):
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **told}
    return subprocess.run(
        [INSTALLED / ".bin" / name, *arguments],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
