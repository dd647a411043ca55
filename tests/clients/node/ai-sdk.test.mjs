// The Vercel AI SDK, unmodified, with the retries that it has by default: both of its providers,
// over /v1/chat/completions and over /v1/responses.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";
import { API_KEY, ENDLESS, MODEL, QUESTION as prompt, REFUSED_KEY, baseURL, cancelledOnce, refusedOnce } from "./support.mjs";

// It prints what it finds odd about a model.
globalThis.AI_SDK_LOG_WARNINGS = false;

const compatible = (apiKey) =>
  createOpenAICompatible({ name: "portcullis", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const openai = (apiKey) => createOpenAI({ baseURL, apiKey });

const CHAT = "/v1/chat/completions";
const providers = [
  { name: "openai-compatible", route: CHAT, make: (key, model = MODEL) => compatible(key)(model) },
  { name: "openai.chat", route: CHAT, make: (key, model = MODEL) => openai(key).chat(model) },
  { name: "openai.responses", route: "/v1/responses", make: (key, model = MODEL) => openai(key).responses(model) },
];

const Topic = z.object({ topic: z.enum(["hours", "fees"]) });
const look_up = tool({ description: "Looks it up.", inputSchema: Topic, execute: async () => "Nine to five." });

for (const { name, route, make } of providers) {
  describe(name, () => {
    const model = make(API_KEY);

    test("chats, and streams the same answer", async () => {
      const whole = await generateText({ model, prompt, temperature: 0 });
      assert.ok(whole.text.length > 10);
      assert.equal(whole.finishReason, "stop");
      const stream = streamText({ model, prompt, temperature: 0 });
      let text = "";
      for await (const piece of stream.textStream) text += piece;
      assert.equal(text, whole.text);
      assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
    });

    test("uses a tool, and goes on with its result", async () => {
      const { steps } = await generateText({
        model, prompt, tools: { look_up }, toolChoice: "required", stopWhen: isStepCount(2),
        prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: "none" } : {}),
      });
      assert.equal(steps[0].toolCalls[0].toolName, "look_up");
      assert.equal(steps[0].toolResults[0].output, "Nine to five.");
      assert.ok(steps[1].text);
    });

    test("a call of a named tool streams", async () => {
      const stream = streamText({
        model, prompt, tools: { look_up }, toolChoice: { type: "tool", toolName: "look_up" },
      });
      const [call] = await stream.toolCalls;
      assert.ok(Topic.parse(call.input));
    });

    test("parses a schema", async () => {
      const output = Output.object({ schema: Topic });
      assert.ok(Topic.parse((await generateText({ model, prompt, output })).output));
      assert.ok(Topic.parse(await streamText({ model, prompt, output }).output));
    });

    test("mistakes have a status, and no second try", async () => {
      const status = (code) => (error) => APICallError.isInstance(error) && error.statusCode === code;
      await assert.rejects(generateText({ model: make(API_KEY, "nothing"), prompt }), status(404));
      await assert.rejects(generateText({ model: make("pk-wrong"), prompt }), status(401));
    });

    test("a refusal is sent once", async () => {
      const asRefusal = (error) =>
        APICallError.isInstance(error) && error.statusCode === 400 && error.responseBody.includes("admissibility_error");
      await refusedOnce(route, () => assert.rejects(generateText({ model: make(REFUSED_KEY), prompt }), asRefusal));
      await refusedOnce(route, async () => {
        const errors = [];
        await streamText({ model: make(REFUSED_KEY), prompt, onError: ({ error }) => errors.push(error) }).consumeStream();
        assert.ok(asRefusal(errors[0]), String(errors[0]));
      });
    });

    test("cancels a stream", async () => {
      const giveUp = new AbortController();
      // Each provider has its own name for the bias, and over /v1/responses there is none.
      const bias = { portcullis: { logit_bias: ENDLESS }, openai: { logitBias: ENDLESS } };
      const endless = route === CHAT ? model : withBias();
      await cancelledOnce(async () => {
        const stream = streamText({
          model: endless, prompt, maxOutputTokens: 1500, abortSignal: giveUp.signal, providerOptions: bias,
        });
        let seen = 0;
        for await (const part of stream.fullStream) if (part.type === "text-delta" && ++seen === 5) giveUp.abort();
        assert.ok(seen >= 5);
      });
    });
  });
}

// Adds the bias to the body on its way.
function withBias() {
  const fetchBiased = (url, init) =>
    fetch(url, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), logit_bias: ENDLESS }) });
  return createOpenAI({ baseURL, apiKey: API_KEY, fetch: fetchBiased }).responses(MODEL);
}
