// The `openai` npm client.
import OpenAI from "openai";

import { serve } from "./serve.mjs";

const client = (ask) =>
  new OpenAI({
    baseURL: `${ask.base}/v1`,
    apiKey: ask.api_key,
    maxRetries: ask.retries,
    timeout: ask.timeout * 1000,
    defaultHeaders: ask.headers,
  });

const asked = (ask) => ({
  model: ask.model,
  messages: [{ role: "user", content: ask.text }],
  ...(ask.max_tokens === null ? {} : { max_tokens: ask.max_tokens }),
  ...ask.extra,
});

const tools = (ask) => [
  {
    type: "function",
    function: { name: ask.tool.name, description: ask.tool.description, parameters: ask.tool.schema },
  },
];

const usageOf = (usage) => (usage ? { input: usage.prompt_tokens, output: usage.completion_tokens, usage } : {});

const callOf = (call) => ({ name: call.function.name, arguments: JSON.parse(call.function.arguments) });

await serve({
  async answer(ask) {
    const answer = await client(ask).chat.completions.create(asked(ask));
    const choice = answer.choices[0];
    return { text: choice.message.content, finish: choice.finish_reason, ...usageOf(answer.usage) };
  },

  async stream(ask, pieces) {
    let finish, usage;
    const stream = await client(ask).chat.completions.create({
      ...asked(ask),
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      for (const choice of chunk.choices) {
        pieces.take(choice.delta.content);
        finish = choice.finish_reason ?? finish;
      }
    }
    return { finish, ...usageOf(usage) };
  },

  async tool(ask) {
    const made = { ...asked(ask), tools: tools(ask) };
    const first = (await client(ask).chat.completions.create(made)).choices[0];
    const call = first.message.tool_calls[0];
    made.messages.push(first.message, { role: "tool", tool_call_id: call.id, content: ask.tool_result });
    const second = (await client(ask).chat.completions.create(made)).choices[0];
    return {
      first_finish: first.finish_reason,
      call: callOf(call),
      text: second.message.content,
      finish: second.finish_reason,
    };
  },

  async tool_stream(ask) {
    const stream = client(ask).chat.completions.stream({ ...asked(ask), tools: tools(ask) });
    const choice = (await stream.finalChatCompletion()).choices[0];
    if (choice.message.tool_calls.length !== 1) throw new Error(JSON.stringify(choice));
    return { first_finish: choice.finish_reason, call: callOf(choice.message.tool_calls[0]) };
  },

  async abort(ask, pieces) {
    const stream = await client(ask).chat.completions.create({ ...asked(ask), stream: true });
    for await (const chunk of stream) {
      pieces.take(chunk.choices[0]?.delta.content);
      if (pieces.length >= ask.leave_after) break;
    }
    return {};
  },

  async no_messages(ask) {
    await client(ask).chat.completions.create({ model: ask.model, messages: [] });
    return {};
  },

  async embed(ask) {
    const answer = await client(ask).embeddings.create({ model: ask.model, ...ask.extra });
    return {
      vectors: answer.data.map((one) => one.embedding),
      indexes: answer.data.map((one) => one.index),
      input: answer.usage.prompt_tokens,
    };
  },

  async models(ask) {
    const models = [];
    for await (const model of client(ask).models.list()) models.push(model.id);
    return { models };
  },
});
