// Asks a gateway through the official Anthropic client and tells what the client made of the answers.
//
// Standard input: {"base_url", "token", "bodies": {NAME: a request without `stream`}, "release"}; to the URL `release`, if
// there is one, goes a POST when the first text of a stream is there, and before each plain call. Standard output: per name what the
// stream helper (`streamed`) and the plain call (`whole`) gave, each {"message"} or {"error": {class, status, type,
// message}}; and under `models`, `model` and `counted` what the other endpoints gave.

import { readFileSync } from "node:fs";
import Anthropic, { APIError } from "@anthropic-ai/sdk";

const { base_url: baseURL, token: authToken, bodies, release } = JSON.parse(readFileSync(0, "utf8"));
// Retries would hide what the gateway says. Nothing is logged, so that standard output is ours alone.
const client = new Anthropic({ baseURL, authToken, apiKey: null, maxRetries: 0, logLevel: "off" });

async function letGoOn() {
    if (release) await fetch(release, { method: "POST" });
}

async function outcome(ask) {
    try {
        return { message: await ask() };
    } catch (error) {
        const { name, status, type, message, requestID } = error;
        return { error: { class: error.constructor.name ?? name, api: error instanceof APIError, status, type, message, request_id: requestID } };
    }
}

// The helper throws from its event handlers when an event does not fit; each kind of event is listened to, as
// applications do, because some are only made for a listener.
async function streamed(body) {
    const stream = client.messages.stream(body);
    const told = { text: "", thinking: "", blocks: [], events: 0 };
    stream.once("text", letGoOn);
    stream.on("text", (delta) => (told.text += delta));
    stream.on("thinking", (delta) => (told.thinking += delta));
    stream.on("signature", () => {});
    stream.on("inputJson", () => {});
    stream.on("contentBlock", (block) => told.blocks.push(block));
    stream.on("streamEvent", () => (told.events += 1));
    stream.on("error", () => {});
    const message = await stream.finalMessage();
    return { ...message, told };
}

const result = { messages: {} };
for (const [name, body] of Object.entries(bodies)) {
    result.messages[name] = {
        streamed: await outcome(() => streamed(body)),
        whole: await outcome(() => letGoOn().then(() => client.messages.create(body))),
    };
    result.counted ??= await outcome(() => client.messages.countTokens({ model: body.model, messages: body.messages }));
    result.model ??= await outcome(() => client.models.retrieve(body.model));
}
result.models = await outcome(async () => {
    const models = [];
    for await (const model of client.models.list({ limit: 1000 })) models.push(model);
    return models;
});
process.stdout.write(JSON.stringify(result));
