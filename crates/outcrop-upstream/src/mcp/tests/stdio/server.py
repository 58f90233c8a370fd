"""A small MCP server of the older era on standard input and output, and everything it can do wrong."""
import json, os, signal, subprocess, sys

cancelled = 0
hanging = None


def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def result(request, text):
    content = [{"type": "text", "text": text}]
    return {"id": request["id"], "result": {"content": content}}


def facts(**more):
    return json.dumps({"pid": os.getpid(), "group": os.getpgrp(), "env": sorted(os.environ),
                       "cancelled": cancelled, "hanging": hanging is not None, **more})


def call(request):
    global hanging
    steer = request["params"]["arguments"]["messages"][0]["content"]
    words = steer.split()
    message = {"jsonrpc": "2.0", **result(request, steer)}
    if steer == "facts":
        send(result(request, facts()))
    elif words[0] in ("crash", "deaf"):
        if steer == "crash with child":
            # Outside the group, so that nothing but its own end closes the pipe.
            subprocess.Popen(["/bin/sleep", "10"], start_new_session=True)
        if words[0] == "crash":
            os._exit(3)
        child = subprocess.Popen(["/bin/sleep", "600"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send(result(request, facts(child=child.pid)))
        while True:
            signal.pause()
    elif words[0] == "garbage":
        for number in range(int(words[1])):
            write("warning: line %d is no JSON\n" % number)
        send(result(request, "done"))
    elif steer == "split":
        text = json.dumps(message) + "\n"
        for at in range(0, len(text), 7):
            write(text[at:at + 7])
    elif steer == "batch":
        note = {"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": "hello"}}
        write("\n" + json.dumps([note, message]) + "\n")
    elif steer == "crlf":
        write(json.dumps(message) + "\r\n")
    elif steer == "text id":
        write(json.dumps({**message, "id": str(request["id"])}) + "\n")
    elif steer == "huge":
        send(result(request, "x" * (5 * 1024 * 1024)))
    elif steer == "hang":
        hanging = request
    else:
        send(result(request, steer))


for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method")
    if method == "initialize":
        send({"id": request["id"], "result": {
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"}}})
    elif method == "tools/list":
        send({"id": request["id"], "result": {"tools": [
            {"name": "converse", "inputSchema": {"type": "object"}}]}})
    elif method == "tools/call":
        call(request)
    elif method == "notifications/cancelled":
        cancelled += 1
        send(result(hanging, "too late"))
    elif "id" in request:
        send({"id": request["id"], "error": {"code": -32601, "message": "no such method"}})
