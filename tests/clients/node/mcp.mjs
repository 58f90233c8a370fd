// MCP clients: `@modelcontextprotocol/sdk` 1.x, and `@modelcontextprotocol/client` 2.x in both protocol eras.
import * as modern from "@modelcontextprotocol/client";
import { Client as SessionClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as SessionTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { serve } from "./serve.mjs";

const WHO = { name: "outcrop-client-suite", version: "1.0.0" };

const connect = async (ask) => {
  const url = new URL(`${ask.base}/mcp`);
  if (ask.client === "mcp-sdk1-node") {
    const client = new SessionClient(WHO);
    const transport = new SessionTransport(url);
    await client.connect(transport);
    return { client, revision: transport.protocolVersion, call: (p, o) => client.callTool(p, undefined, o) };
  }
  const mode = ask.client === "mcp-client2-node" ? "auto" : "legacy";
  const client = new modern.Client(WHO, { versionNegotiation: { mode } });
  await client.connect(new modern.StreamableHTTPClientTransport(url));
  const revision = client.getNegotiatedProtocolVersion();
  return { client, revision, call: (p, o) => client.callTool(p, o) };
};

const connected = async (ask, use) => {
  const connection = await connect(ask);
  try {
    return await use(connection);
  } finally {
    await connection.client.close();
  }
};

const argumentsOf = (ask, messages, withTools) => ({
  model: ask.model,
  messages: messages ?? [{ role: "user", content: ask.text }],
  ...(ask.max_tokens === null ? {} : { max_tokens: ask.max_tokens }),
  ...(withTools && {
    tools: [
      {
        type: "function",
        function: { name: ask.tool.name, description: ask.tool.description, parameters: ask.tool.schema },
      },
    ],
  }),
  ...ask.extra,
});

class ToolResultError extends Error {
  constructor(result) {
    super(saidBy(result));
    this.name = "ToolResultError";
    this.data = result.structuredContent ?? null;
  }
}

const saidBy = (result) => result.content.map((part) => part.text ?? "").join("");

const read = (result) => {
  if (result.isError) throw new ToolResultError(result);
  const structured = result.structuredContent;
  if (!structured) return { text: saidBy(result), structured: null };
  return {
    text: structured.content,
    finish: structured.finish_reason,
    input: structured.usage?.prompt_tokens,
    output: structured.usage?.completion_tokens,
    structured,
    said: saidBy(result),
  };
};

const callOf = ({ tool_calls: calls }) => {
  if (calls?.length !== 1) throw new Error(JSON.stringify(calls));
  const made = calls[0].function.arguments;
  return { name: calls[0].function.name, arguments: typeof made === "string" ? JSON.parse(made) : made };
};

const options = (ask, onprogress) => ({ timeout: ask.timeout * 1000, ...(onprogress && { onprogress }) });
const converse = async (connection, ask, made, onprogress) =>
  read(await connection.call({ name: "converse", arguments: made }, options(ask, onprogress)));

await serve({
  answer: (ask) =>
    connected(ask, async (connection) => ({
      ...(await converse(connection, ask, argumentsOf(ask))),
      revision: connection.revision,
    })),

  stream: (ask) =>
    connected(ask, async (connection) => {
      const pieces = [];
      const onprogress = ({ message }) => message && pieces.push(message);
      const seen = await converse(connection, ask, argumentsOf(ask), onprogress);
      return { ...seen, pieces, revision: connection.revision };
    }),

  tool: (ask) =>
    connected(ask, async (connection) => {
      const first = await converse(connection, ask, argumentsOf(ask, undefined, true));
      const { content, tool_calls } = first.structured;
      const conversation = [
        { role: "user", content: ask.text },
        { role: "assistant", content: content ?? "", tool_calls },
        { role: "tool", tool_call_id: tool_calls[0].id, content: ask.tool_result },
      ];
      const second = await converse(connection, ask, argumentsOf(ask, conversation, true));
      return { ...second, first_finish: first.finish, call: callOf(first.structured) };
    }),

  tool_stream: (ask) =>
    connected(ask, async (connection) => {
      const seen = await converse(connection, ask, argumentsOf(ask, undefined, true), () => {});
      return { first_finish: seen.finish, call: callOf(seen.structured) };
    }),

  abort: (ask, pieces) =>
    connected(ask, async (connection) => {
      const abortion = new AbortController();
      const onprogress = ({ message }) => {
        pieces.take(message);
        if (pieces.length >= ask.leave_after) abortion.abort();
      };
      const given = { ...options(ask, onprogress), signal: abortion.signal };
      try {
        await connection.call({ name: "converse", arguments: argumentsOf(ask) }, given);
      } catch (error) {
        if (!abortion.signal.aborted) throw error;
      }
      // The older era cancels with a notice of its own: a further request shows that it has left.
      await connection.client.listTools();
      return {};
    }),

  no_messages: (ask) =>
    connected(ask, (connection) => converse(connection, ask, { model: ask.model, messages: [] })),

  tools: (ask) =>
    connected(ask, async ({ client, revision }) => ({ tools: (await client.listTools()).tools, revision })),

  call: (ask) =>
    connected(ask, async ({ call }) =>
      read(await call({ name: ask.extra.name, arguments: ask.extra.arguments }, options(ask)))),
});
