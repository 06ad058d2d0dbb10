// OpenAI's npm package: chat, stream, tools, JSON schema, log-probabilities, completions, responses, embeddings,
// models.
// BAICAI_TINY and BAICAI_ROOMY are the addresses of the servers.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const open = (baseURL) => new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const tiny = open(process.env.BAICAI_TINY);
const roomy = open(process.env.BAICAI_ROOMY);
const chatRequest = { model: "tiny", messages: [{ role: "user", content: "apple pear" }], temperature: 0, max_tokens: 12 };
const parameters = {
  type: "object",
  properties: { kind: { enum: ["apple", "pear"] } },
  required: ["kind"],
  additionalProperties: false,
};

async function collect(events) {
  const collected = [];
  for await (const event of events) collected.push(event);
  return collected;
}

test("a stream adds up to the completion", async () => {
  const complete = await tiny.chat.completions.create(chatRequest);
  const chunks = await collect(
    await tiny.chat.completions.create({ ...chatRequest, stream: true, stream_options: { include_usage: true } }),
  );
  const text = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");
  assert.equal(text, complete.choices[0].message.content);
  assert.equal(complete.choices[0].finish_reason, "length");
  assert.equal(chunks.at(-1).usage.completion_tokens, 12);
  const assembled = await tiny.chat.completions.stream(chatRequest).finalChatCompletion();
  assert.equal(assembled.choices[0].message.content, text);
});

test("a stream can be aborted", async () => {
  const stream = await tiny.chat.completions.create({ ...chatRequest, max_tokens: 40, stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    stream.controller.abort();
  }
});

test("log-probability bytes spell the completion", async () => {
  const { choices } = await tiny.chat.completions.create({ ...chatRequest, logprobs: true, top_logprobs: 2 });
  const bytes = choices[0].logprobs.content.flatMap((token) => token.bytes);
  assert.equal(Buffer.from(bytes).toString(), choices[0].message.content);
  assert.ok(choices[0].logprobs.content.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
});

test("a tool is called and its result read", async () => {
  const tools = [{ type: "function", function: { name: "pick", parameters } }];
  const more = { ...chatRequest, model: "roomy", max_tokens: 100, tools };
  const { choices } = await roomy.chat.completions.create({ ...more, tool_choice: "required" });
  const { message } = choices[0];
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.ok(["apple", "pear"].includes(JSON.parse(message.tool_calls[0].function.arguments).kind));
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "pear" };
  const final = await roomy.chat.completions.create({
    ...more,
    messages: [...chatRequest.messages, message, result],
    tool_choice: "none",
  });
  assert.equal(final.choices[0].message.role, "assistant");
  const calls = [];
  const runner = roomy.chat.completions.runTools({
    ...more,
    tool_choice: { type: "function", function: { name: "pick" } },
    tools: [
      {
        type: "function",
        function: { name: "pick", parameters, parse: JSON.parse, function: (args) => calls.push(args) },
      },
    ],
  });
  await runner.finalFunctionToolCallResult();
  assert.deepEqual(Object.keys(calls[0]), ["kind"]);
});

test("a completion matches its schema", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "fruit", strict: true, schema: parameters } };
  const { choices } = await roomy.chat.completions.parse({ ...chatRequest, model: "roomy", max_tokens: 100, response_format });
  assert.ok(["apple", "pear"].includes(choices[0].message.parsed.kind));
});

test("text completions are streamed, and echoed with their log-probabilities", async () => {
  const prompt = "apple pear plum";
  const { choices } = await tiny.completions.create({ model: "tiny", prompt, max_tokens: 0, echo: true, logprobs: 1 });
  assert.equal(choices[0].text, prompt);
  assert.equal(choices[0].logprobs.token_logprobs[0], null);
  const chunks = await collect(await tiny.completions.create({ model: "tiny", prompt, max_tokens: 5, stream: true }));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
});

test("the events of a response add up to it", async () => {
  const request = { model: "tiny", input: "apple pear", temperature: 0, max_output_tokens: 12 };
  const complete = await tiny.responses.create(request);
  const events = await collect(await tiny.responses.create({ ...request, stream: true }));
  const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(text.join(""), complete.output_text);
  const assembled = await tiny.responses.stream(request).finalResponse();
  assert.equal(assembled.output_text, complete.output_text);
});

test("embeddings have length 1 in both encodings", async () => {
  const input = ["apple pear", "iron"];
  const { data } = await tiny.embeddings.create({ model: "tiny", input });
  const { data: floats } = await tiny.embeddings.create({ model: "tiny", input, encoding_format: "float" });
  for (const [index, { embedding }] of data.entries()) {
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
    assert.ok(embedding.every((value, at) => Math.abs(value - floats[index].embedding[at]) < 1e-6));
  }
});

test("models are listed and shown", async () => {
  const listed = await collect(tiny.models.list());
  assert.deepEqual(listed.map((model) => model.id), ["tiny"]);
  assert.equal((await tiny.models.retrieve("tiny:fruit")).id, "tiny:fruit");
});

test("an error has its parameter and code", async () => {
  await assert.rejects(tiny.chat.completions.create({ ...chatRequest, n: 0 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.code], ["n", "integer_below_min_value"]);
    return true;
  });
  await assert.rejects(tiny.models.retrieve("moss"), OpenAI.NotFoundError);
});
