// Serves asks to a client's script: one JSON line in, one JSON line out, until the standard input ends.
// Given an ask as the first argument, the script answers just that one: handy for trying a scenario by hand.
import { createInterface } from "node:readline";

const unhandled = [];
process.on("unhandledRejection", (error) => unhandled.push(String(error?.stack ?? error)));

/** Collects the text pieces of a stream, so that text that arrived before an error is reported. */
export class Pieces extends Array {
  take(text) {
    if (text) this.push(text);
  }
}

/** A report of an error: its class, every class it is of, and what the client made of the answer. */
function failure(error) {
  const classes = [];
  for (let one = error; one && one !== Object.prototype; one = Object.getPrototypeOf(one)) {
    if (Object.hasOwn(one, "constructor")) classes.push(one.constructor.name);
  }
  const name = error?.name && error.name !== "Error" ? error.name : error?.constructor?.name;
  if (error?.name) classes.unshift(error.name);
  return {
    class: name ?? typeof error,
    classes: [...new Set(classes)],
    status: error?.status ?? error?.statusCode ?? error?.$metadata?.httpStatusCode ?? error?.code ?? null,
    body: error?.error ?? error?.responseBody ?? error?.data ?? null,
    message: error?.message ?? JSON.stringify(error),
  };
}

async function carryOut(operations, ask) {
  const pieces = new Pieces();
  const streamed = ["stream", "tool_stream", "abort"].includes(ask.op);
  try {
    const operation = operations[ask.op];
    if (!operation) throw new TypeError(`no such operation: ${ask.op}`);
    const seen = await operation(ask, pieces);
    return streamed ? { pieces, text: pieces.join(""), ...seen } : seen;
  } catch (error) {
    return { error: failure(error), pieces, text: pieces.join("") };
  }
}

/** Runs a script: `operations` maps the name of an operation to an async function of the ask. */
export async function serve(operations) {
  const given = process.argv[2];
  const lines = given ? [given] : createInterface({ input: process.stdin });
  for await (const line of lines) {
    const ask = JSON.parse(line);
    const seen = await carryOut(operations, ask);
    // An error that escapes surfaces on the next turns of the event loop.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    if (unhandled.length) seen.unhandled = unhandled.splice(0);
    process.stdout.write(`${JSON.stringify({ id: ask.id, ...seen })}\n`);
  }
  process.exit(0);
}
