// What the suites share: where the server is, and its counters.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

const { SERVER_URL, API_KEY, REFUSED_KEY, MODEL } = process.env;
export const baseURL = `${SERVER_URL}/v1`;
export { API_KEY, REFUSED_KEY, MODEL };

export const QUESTION = "When are you open?";

// The demo model's <|end_of_text|> and <|eot_id|>: without them it never comes to an end.
export const ENDLESS = { 1273: -100, 1276: -100 };

const SETTLE_MS_MAX = 20_000;

// What happens inside is one refusal, and one answer 400 to one call: no second try.
export async function refusedOnce(route, call) {
  const answer = (all) => all[`portcullis_http_answers_total{route="${route}",status="400"}`] ?? 0;
  const before = await counters();
  await call();
  assert.equal(answer(await counters()), answer(before) + 1);
  await settlesAt("portcullis_gate_refusals_total", total(before, "portcullis_gate_refusals_total") + 1);
}

// What happens inside gives up one call, and afterwards nothing runs.
export async function cancelledOnce(call) {
  const before = await counters();
  await call();
  await settlesAt("portcullis_cancelled_total", total(before, "portcullis_cancelled_total") + 1);
  assert.equal(total(await counters(), "vllm:num_requests_running"), 0);
}

// Counters move a moment after the answer.
async function settlesAt(name, value) {
  const deadline = Date.now() + SETTLE_MS_MAX;
  while (total(await counters(), name) < value && Date.now() < deadline) await sleep(20);
  await sleep(100);
  assert.equal(total(await counters(), name), value, name);
}

async function counters() {
  const text = await (await fetch(`${SERVER_URL}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => line.match(/^(.*) (\S+)$/).slice(1)).map(([name, value]) => [name, Number(value)]));
}

// Over all models.
function total(all, name) {
  const named = Object.entries(all).filter(([counter]) => counter.startsWith(name));
  return named.reduce((sum, [, value]) => sum + value, 0);
}
