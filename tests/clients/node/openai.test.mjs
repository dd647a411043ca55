// openai-node, unmodified, with the retries that it has by default.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { API_KEY, ENDLESS, MODEL as model, QUESTION, REFUSED_KEY, baseURL, cancelledOnce, refusedOnce } from "./support.mjs";

const client = new OpenAI({ baseURL, apiKey: API_KEY });
const refused = new OpenAI({ baseURL, apiKey: REFUSED_KEY });
const messages = [{ role: "user", content: QUESTION }];
const Topic = z.object({ topic: z.enum(["hours", "fees"]) });
const tools = [zodFunction({ name: "look_up", description: "Looks it up.", parameters: Topic })];

test("lists models", async () => {
  const listed = await client.models.list();
  assert.deepEqual(listed.data.map((one) => one.id), [model]);
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("chats, and streams the same answer", async () => {
  const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
  assert.equal(whole.choices[0].finish_reason, "stop");
  assert.ok(whole.choices[0].message.content.length > 10);
  const stream = await client.chat.completions.create({
    model, messages, temperature: 0, stream: true, stream_options: { include_usage: true },
  });
  let [text, usage] = ["", null];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

for (const tool_choice of ["required", { type: "function", function: { name: "look_up" } }]) {
  test(`uses a tool: ${JSON.stringify(tool_choice)}`, async () => {
    const answer = await client.chat.completions.parse({ model, messages, tools, tool_choice });
    const { message } = answer.choices[0];
    const [call] = message.tool_calls;
    assert.equal(call.function.name, "look_up");
    assert.ok(Topic.parse(call.function.parsed_arguments));
    const result = { role: "tool", tool_call_id: call.id, content: "Nine to five." };
    const told = await client.chat.completions.create({ model, messages: [...messages, message, result] });
    assert.ok(told.choices[0].message.content);
  });
}

test("a call streams", async () => {
  const stream = client.chat.completions.stream({ model, messages, tools, tool_choice: "required" });
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.ok(Topic.parse(JSON.parse(message.tool_calls[0].function.arguments)));
});

test("runs tools", async () => {
  const asked = [];
  const look_up = async ({ topic }) => asked.push(topic) && "Nine to five.";
  const run = client.chat.completions.runTools({
    model, messages, tool_choice: { type: "function", function: { name: "look_up" } },
    tools: [zodFunction({ name: "look_up", description: "Looks it up.", parameters: Topic, function: look_up })],
  });
  await run.done();
  assert.ok(["hours", "fees"].includes(asked[0]));
});

test("parses a schema", async () => {
  const response_format = zodResponseFormat(Topic, "topic");
  const answer = await client.chat.completions.parse({ model, messages, response_format });
  assert.ok(Topic.parse(answer.choices[0].message.parsed));
});

test("responses: answers, and streams the same answer", async () => {
  const whole = await client.responses.create({ model, input: QUESTION, temperature: 0 });
  assert.equal(whole.status, "completed");
  const stream = client.responses.stream({ model, input: QUESTION, temperature: 0 });
  assert.equal((await stream.finalResponse()).output_text, whole.output_text);
});

test("responses: uses a tool", async () => {
  const input = [{ role: "user", content: QUESTION }];
  const tool = { type: "function", ...tools[0].function };
  const answer = await client.responses.create({ model, input, tools: [tool], tool_choice: "required" });
  const call = answer.output.find((item) => item.type === "function_call");
  assert.ok(Topic.parse(JSON.parse(call.arguments)));
  const result = { type: "function_call_output", call_id: call.call_id, output: "Nine to five." };
  assert.ok((await client.responses.create({ model, input: [...input, call, result] })).output_text);
});

test("responses: parses a schema", async () => {
  const text = { format: zodTextFormat(Topic, "topic") };
  assert.ok(Topic.parse((await client.responses.parse({ model, input: QUESTION, text })).output_parsed));
});

test("mistakes have a name", async () => {
  await assert.rejects(client.chat.completions.create({ model: "nothing", messages }), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL, apiKey: "pk-wrong" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === "temperature";
  });
});

for (const stream of [false, true]) {
  test(`a refusal is sent once, ${stream ? "streamed" : "whole"}`, async () => {
    const asRefusal = (error) => error instanceof OpenAI.BadRequestError && error.type === "admissibility_error";
    await refusedOnce("/v1/chat/completions", () =>
      assert.rejects(refused.chat.completions.create({ model, messages, stream }), asRefusal));
    await refusedOnce("/v1/responses", () =>
      assert.rejects(refused.responses.create({ model, input: QUESTION, stream }), asRefusal));
  });
}

test("cancels a stream", async () => {
  await cancelledOnce(async () => {
    const stream = await client.chat.completions.create({
      model, messages, max_tokens: 1500, logit_bias: ENDLESS, stream: true,
    });
    let seen = 0;
    for await (const _ of stream) if (++seen === 5) break;
    assert.equal(seen, 5);
  });
});
