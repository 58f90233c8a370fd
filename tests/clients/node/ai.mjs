// The AI SDK (`ai`) with its Amazon Bedrock provider and its OpenAI-compatible provider.
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";

import { serve } from "./serve.mjs";

const model = (ask) => {
  if (ask.client === "ai-amazon-bedrock") {
    const { key_id: accessKeyId, secret: secretAccessKey, region, headers } = ask;
    return createAmazonBedrock({ baseURL: ask.base, region, accessKeyId, secretAccessKey, headers })(ask.model);
  }
  return createOpenAICompatible({
    name: "outcrop",
    baseURL: `${ask.base}/v1`,
    apiKey: ask.api_key,
    headers: ask.headers,
    includeUsage: true,
  })(ask.model);
};

const asked = (ask) => ({
  model: model(ask),
  prompt: ask.text,
  maxOutputTokens: ask.max_tokens ?? undefined,
  maxRetries: ask.retries,
  ...ask.extra,
});

const tools = (ask) => ({
  [ask.tool.name]: tool({
    description: ask.tool.description,
    inputSchema: jsonSchema(ask.tool.schema),
    execute: async () => ask.tool_result,
  }),
});

const usageOf = (usage) => ({ input: usage.inputTokens, output: usage.outputTokens, usage });
const callOf = (calls) => {
  if (calls.length !== 1) throw new Error(JSON.stringify(calls));
  return { name: calls[0].toolName, arguments: calls[0].input };
};

// The SDK hands errors of a stream on as parts of it; the first one is thrown here, as any caller would.
const readStream = async (result, onPart) => {
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    onPart(part);
  }
};

const settled = (result) => Promise.allSettled([result.finishReason, result.usage, result.steps]);

await serve({
  async answer(ask) {
    const answer = await generateText(asked(ask));
    return { text: answer.text, finish: answer.finishReason, ...usageOf(answer.usage) };
  },

  async stream(ask, pieces) {
    const result = streamText({ ...asked(ask), onError: () => {} });
    try {
      await readStream(result, (part) => part.type === "text-delta" && pieces.take(part.text));
    } finally {
      await settled(result);
    }
    return { finish: await result.finishReason, ...usageOf(await result.usage) };
  },

  async tool(ask) {
    const answer = await generateText({ ...asked(ask), tools: tools(ask), stopWhen: isStepCount(2) });
    const [first, second] = answer.steps;
    return {
      first_finish: first.finishReason,
      call: callOf(first.toolCalls),
      text: second.text,
      finish: second.finishReason,
    };
  },

  async tool_stream(ask) {
    const result = streamText({ ...asked(ask), tools: tools(ask), stopWhen: isStepCount(1), onError: () => {} });
    const calls = [];
    try {
      await readStream(result, (part) => part.type === "tool-call" && calls.push(part));
    } finally {
      await settled(result);
    }
    return { first_finish: await result.finishReason, call: callOf(calls) };
  },

  async abort(ask, pieces) {
    const abortion = new AbortController();
    const result = streamText({ ...asked(ask), abortSignal: abortion.signal, onError: () => {} });
    await readStream(result, (part) => {
      pieces.take(part.type === "text-delta" && part.text);
      if (pieces.length >= ask.leave_after) abortion.abort();
    });
    await settled(result);
    return {};
  },
});
