// An MCP server over standard input and output with one tool, whose name is the first argument.

import { createInterface } from "node:readline";

const answers = {
    initialize: ({ protocolVersion }) => ({
        protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: "long", version: "1" },
    }),
    ping: () => ({}),
    "tools/list": () => ({
        tools: [{ name: process.argv[2], description: "The long tool.", inputSchema: { type: "object", properties: {} } }],
    }),
    "tools/call": () => ({ content: [{ type: "text", text: "out of the long tool" }] }),
};

createInterface({ input: process.stdin }).on("line", (line) => {
    const { id, method, params } = JSON.parse(line);
    if (id === undefined) return;
    const answer = answers[method]
        ? { result: answers[method](params ?? {}) }
        : { error: { code: -32601, message: `no method ${method}` } };
    console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
});
