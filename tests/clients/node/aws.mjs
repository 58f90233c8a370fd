// `@aws-sdk/client-bedrock-runtime`, which speaks HTTP/2 with prior knowledge on `http://`.
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";

import { serve } from "./serve.mjs";

const clients = new Map();

// One client per configuration, as an application would have it: its HTTP/2 connection is used again.
const clientFor = ({ base: endpoint, region, key_id: accessKeyId, secret: secretAccessKey, retries }) => {
  const name = JSON.stringify([endpoint, region, accessKeyId, secretAccessKey, retries]);
  if (!clients.has(name)) {
    const credentials = { accessKeyId, secretAccessKey };
    clients.set(name, new BedrockRuntimeClient({ endpoint, region, credentials, maxAttempts: 1 + retries }));
  }
  return clients.get(name);
};

const send = async (ask, command, options) => {
  command.middlewareStack.add(
    (next) => (args) => {
      Object.assign(args.request.headers, ask.headers);
      return next(args);
    },
    { step: "build", name: "givenHeaders" },
  );
  return clientFor(ask).send(command, options);
};

const asked = (ask) => ({
  modelId: ask.model,
  messages: [{ role: "user", content: [{ text: ask.text }] }],
  ...(ask.max_tokens === null ? {} : { inferenceConfig: { maxTokens: ask.max_tokens } }),
  ...ask.extra,
});

const toolConfig = (ask) => ({
  tools: [
    {
      toolSpec: {
        name: ask.tool.name,
        description: ask.tool.description,
        inputSchema: { json: ask.tool.schema },
      },
    },
  ],
});

const textOf = (message) => message.content.map((block) => block.text ?? "").join("");
const usageOf = (usage) => (usage ? { input: usage.inputTokens, output: usage.outputTokens, usage } : {});

const invokeInput = (ask) => ({
  modelId: ask.model,
  contentType: "application/json",
  body: JSON.stringify({
    anthropic_version: "bedrock-2023-05-31",
    max_tokens: ask.max_tokens ?? 400,
    messages: [{ role: "user", content: ask.text }],
    ...ask.extra,
  }),
});

const parse = (bytes) => JSON.parse(Buffer.from(bytes).toString("utf8"));

await serve({
  async answer(ask) {
    const answer = await send(ask, new ConverseCommand(asked(ask)));
    return { text: textOf(answer.output.message), finish: answer.stopReason, ...usageOf(answer.usage) };
  },

  async stream(ask, pieces) {
    let finish, usage;
    const answer = await send(ask, new ConverseStreamCommand(asked(ask)));
    for await (const event of answer.stream) {
      pieces.take(event.contentBlockDelta?.delta.text);
      finish = event.messageStop?.stopReason ?? finish;
      usage = event.metadata?.usage ?? usage;
    }
    return { finish, ...usageOf(usage) };
  },

  async tool(ask) {
    const made = { ...asked(ask), toolConfig: toolConfig(ask) };
    const first = await send(ask, new ConverseCommand(made));
    const message = first.output.message;
    const { toolUse } = message.content.find((block) => block.toolUse);
    const toolResult = { toolUseId: toolUse.toolUseId, content: [{ text: ask.tool_result }] };
    made.messages.push(message, { role: "user", content: [{ toolResult }] });
    const second = await send(ask, new ConverseCommand(made));
    return {
      first_finish: first.stopReason,
      call: { name: toolUse.name, arguments: toolUse.input },
      text: textOf(second.output.message),
      finish: second.stopReason,
    };
  },

  async tool_stream(ask) {
    let finish;
    let input = "";
    const starts = [];
    const made = { ...asked(ask), toolConfig: toolConfig(ask) };
    for await (const event of (await send(ask, new ConverseStreamCommand(made))).stream) {
      if (event.contentBlockStart) starts.push(event.contentBlockStart.start.toolUse);
      input += event.contentBlockDelta?.delta.toolUse?.input ?? "";
      finish = event.messageStop?.stopReason ?? finish;
    }
    if (starts.length !== 1 || !starts[0].toolUseId) throw new Error(JSON.stringify(starts));
    return { first_finish: finish, call: { name: starts[0].name, arguments: JSON.parse(input) } };
  },

  async abort(ask, pieces) {
    const abortion = new AbortController();
    const command = new ConverseStreamCommand(asked(ask));
    const answer = await send(ask, command, { abortSignal: abortion.signal });
    try {
      for await (const event of answer.stream) {
        pieces.take(event.contentBlockDelta?.delta.text);
        if (pieces.length >= ask.leave_after) abortion.abort();
      }
    } catch (error) {
      if (!abortion.signal.aborted) throw error;
    }
    return {};
  },

  async no_messages(ask) {
    await send(ask, new ConverseCommand({ modelId: ask.model, messages: [] }));
    return {};
  },

  async count(ask) {
    const input = { converse: { messages: asked(ask).messages } };
    return { input: (await send(ask, new CountTokensCommand({ modelId: ask.model, input }))).inputTokens };
  },

  async invoke(ask) {
    const message = parse((await send(ask, new InvokeModelCommand(invokeInput(ask)))).body);
    return {
      text: textOf(message),
      finish: message.stop_reason,
      input: message.usage.input_tokens,
      output: message.usage.output_tokens,
    };
  },

  async invoke_stream(ask) {
    const pieces = [];
    let finish, last;
    for await (const event of (await send(ask, new InvokeModelWithResponseStreamCommand(invokeInput(ask)))).body) {
      last = parse(event.chunk.bytes);
      if (last.delta?.type === "text_delta") pieces.push(last.delta.text);
      finish = last.delta?.stop_reason ?? finish;
    }
    const metrics = last["amazon-bedrock-invocationMetrics"];
    return {
      text: pieces.join(""),
      pieces,
      finish,
      last: last.type,
      input: metrics?.inputTokenCount,
      output: metrics?.outputTokenCount,
    };
  },
});
