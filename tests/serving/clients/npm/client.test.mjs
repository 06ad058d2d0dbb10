// OpenAI's npm package: chat, stream, tools, JSON schema, log-probabilities, completions, responses, embeddings,
// models.
// BAICAI_TINY and BAICAI_ROOMY are the servers' addresses.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const open = (baseURL) => new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const tiny = open(process.env.BAICAI_TINY);
const roomy = open(process.env.BAICAI_ROOMY);
const asked = { model: "tiny", messages: [{ role: "user", content: "apple pear" }], temperature: 0, max_tokens: 12 };
const parameters = {
  type: "object",
  properties: { kind: { enum: ["apple", "pear"] } },
  required: ["kind"],
  additionalProperties: false,
};

async function collect(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

test("a stream adds up to the answer", async () => {
  const whole = await tiny.chat.completions.create(asked);
  const chunks = await collect(
    await tiny.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }),
  );
  const text = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(chunks.at(-1).usage.completion_tokens, 12);
  const put = await tiny.chat.completions.stream(asked).finalChatCompletion();
  assert.equal(put.choices[0].message.content, text);
});

test("a stream can be left", async () => {
  const stream = await tiny.chat.completions.create({ ...asked, max_tokens: 40, stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    stream.controller.abort();
  }
});

test("log-probabilities spell the answer", async () => {
  const { choices } = await tiny.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2 });
  const bytes = choices[0].logprobs.content.flatMap((token) => token.bytes);
  assert.equal(Buffer.from(bytes).toString(), choices[0].message.content);
  assert.ok(choices[0].logprobs.content.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
});

test("a tool is called and heard of", async () => {
  const tools = [{ type: "function", function: { name: "pick", parameters } }];
  const more = { ...asked, model: "roomy", max_tokens: 100, tools };
  const { choices } = await roomy.chat.completions.create({ ...more, tool_choice: "required" });
  const { message } = choices[0];
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.ok(["apple", "pear"].includes(JSON.parse(message.tool_calls[0].function.arguments).kind));
  const told = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "pear" };
  const heard = await roomy.chat.completions.create({
    ...more,
    messages: [...asked.messages, message, told],
    tool_choice: "none",
  });
  assert.equal(heard.choices[0].message.role, "assistant");
  const ran = [];
  const runner = roomy.chat.completions.runTools({
    ...more,
    tool_choice: { type: "function", function: { name: "pick" } },
    tools: [
      {
        type: "function",
        function: { name: "pick", parameters, parse: JSON.parse, function: (args) => ran.push(args) },
      },
    ],
  });
  await runner.finalFunctionToolCallResult();
  assert.deepEqual(Object.keys(ran[0]), ["kind"]);
});

test("an answer keeps to its schema", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "fruit", strict: true, schema: parameters } };
  const { choices } = await roomy.chat.completions.parse({ ...asked, model: "roomy", max_tokens: 100, response_format });
  assert.ok(["apple", "pear"].includes(choices[0].message.parsed.kind));
});

test("texts are continued, and echoed with their likelihoods", async () => {
  const prompt = "apple pear plum";
  const { choices } = await tiny.completions.create({ model: "tiny", prompt, max_tokens: 0, echo: true, logprobs: 1 });
  assert.equal(choices[0].text, prompt);
  assert.equal(choices[0].logprobs.token_logprobs[0], null);
  const chunks = await collect(await tiny.completions.create({ model: "tiny", prompt, max_tokens: 5, stream: true }));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
});

test("a response's events add up to it", async () => {
  const wanted = { model: "tiny", input: "apple pear", temperature: 0, max_output_tokens: 12 };
  const whole = await tiny.responses.create(wanted);
  const events = await collect(await tiny.responses.create({ ...wanted, stream: true }));
  const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(text.join(""), whole.output_text);
  const put = await tiny.responses.stream(wanted).finalResponse();
  assert.equal(put.output_text, whole.output_text);
});

test("texts have embeddings of length 1, in either form", async () => {
  const input = ["apple pear", "iron"];
  const { data } = await tiny.embeddings.create({ model: "tiny", input });
  const { data: written } = await tiny.embeddings.create({ model: "tiny", input, encoding_format: "float" });
  for (const [place, { embedding }] of data.entries()) {
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
    assert.ok(embedding.every((value, at) => Math.abs(value - written[place].embedding[at]) < 1e-6));
  }
});

test("models are listed and shown", async () => {
  const listed = await collect(tiny.models.list());
  assert.deepEqual(listed.map((model) => model.id), ["tiny"]);
  assert.equal((await tiny.models.retrieve("tiny:fruit")).id, "tiny:fruit");
});

test("a refusal has its parameter and code", async () => {
  await assert.rejects(tiny.chat.completions.create({ ...asked, n: 0 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.code], ["n", "integer_below_min_value"]);
    return true;
  });
  await assert.rejects(tiny.models.retrieve("moss"), OpenAI.NotFoundError);
});
