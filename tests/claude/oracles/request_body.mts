// The body of `POST /responses` as the official package types it, but for what replayed items may leave out: the service
// takes them without `id` and `status`, which nobody can know of a response that was not stored, and an output text
// without `annotations` (WIRE.md Q-M4, Q-M11, Q-R3). The package has one type for what is sent and what is received.

import type { Responses } from "openai/resources/responses/responses";

type MayLack<T, Key extends keyof T> = Omit<T, Key> & Partial<Pick<T, Key>>;

type ReplayedMessage = MayLack<Omit<Responses.ResponseOutputMessage, "content">, "id" | "status"> & {
    content: (MayLack<Responses.ResponseOutputText, "annotations"> | Responses.ResponseOutputRefusal)[];
};

type Item =
    | Exclude<Responses.ResponseInputItem, Responses.ResponseOutputMessage | Responses.ResponseReasoningItem>
    | ReplayedMessage
    | MayLack<Responses.ResponseReasoningItem, "id">;

export type RequestBody = Omit<Responses.ResponseCreateParamsStreaming, "input"> & { input: Item[] };
