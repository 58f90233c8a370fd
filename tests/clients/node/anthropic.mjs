// The `@anthropic-ai/sdk` client, and `@anthropic-ai/bedrock-sdk`, which signs and speaks the invoke routes.
import Anthropic from "@anthropic-ai/sdk";
import { AnthropicBedrock } from "@anthropic-ai/bedrock-sdk";

import { serve } from "./serve.mjs";

const client = (ask) => {
  const options = {
    baseURL: ask.base,
    maxRetries: ask.retries,
    timeout: ask.timeout * 1000,
    defaultHeaders: ask.headers,
  };
  if (ask.client !== "anthropic-bedrock-node") return new Anthropic({ ...options, apiKey: ask.api_key });
  const credentials = { awsAccessKey: ask.key_id, awsSecretKey: ask.secret, awsRegion: ask.region };
  return new AnthropicBedrock({ ...options, ...credentials, apiKey: null });
};

const asked = (ask) => ({
  model: ask.model,
  max_tokens: ask.max_tokens ?? 400,
  messages: [{ role: "user", content: ask.text }],
  ...ask.extra,
});

const tools = (ask) => [
  { name: ask.tool.name, description: ask.tool.description, input_schema: ask.tool.schema },
];

const textOf = (message) => message.content.map((block) => block.text ?? "").join("");
const usageOf = ({ usage }) => ({ input: usage.input_tokens, output: usage.output_tokens, usage });
const callOf = (message) => {
  const calls = message.content.filter((block) => block.type === "tool_use");
  if (calls.length !== 1) throw new Error(JSON.stringify(message.content));
  return { name: calls[0].name, arguments: calls[0].input };
};

await serve({
  async answer(ask) {
    const message = await client(ask).messages.create(asked(ask));
    return { text: textOf(message), finish: message.stop_reason, ...usageOf(message) };
  },

  async stream(ask, pieces) {
    const stream = client(ask).messages.stream(asked(ask));
    stream.on("text", (text) => pieces.take(text));
    const message = await stream.finalMessage();
    return { finish: message.stop_reason, ...usageOf(message) };
  },

  async tool(ask) {
    const made = { ...asked(ask), tools: tools(ask) };
    const first = await client(ask).messages.create(made);
    const use = first.content.find((block) => block.type === "tool_use");
    made.messages.push(
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: ask.tool_result }] },
    );
    const second = await client(ask).messages.create(made);
    return {
      first_finish: first.stop_reason,
      call: callOf(first),
      text: textOf(second),
      finish: second.stop_reason,
    };
  },

  async tool_stream(ask) {
    const stream = client(ask).messages.stream({ ...asked(ask), tools: tools(ask) });
    const message = await stream.finalMessage();
    return { first_finish: message.stop_reason, call: callOf(message) };
  },

  async abort(ask, pieces) {
    const stream = await client(ask).messages.create({ ...asked(ask), stream: true });
    for await (const event of stream) {
      pieces.take(event.type === "content_block_delta" && event.delta.text);
      if (pieces.length >= ask.leave_after) break;
    }
    return {};
  },

  async no_messages(ask) {
    await client(ask).messages.create({ model: ask.model, max_tokens: 10, messages: [] });
    return {};
  },

  async count(ask) {
    const { model, messages } = asked(ask);
    return { input: (await client(ask).messages.countTokens({ model, messages })).input_tokens };
  },
});
