// Checks request bodies against the types of the official OpenAI package, as literals: no key may be unknown.
//
// Standard input: {NAME: a body}. Standard output: {NAME: [complaints]} of the bodies that the compiler does not take.
// Each body becomes one file beside this one, which exists in memory alone.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const folder = dirname(fileURLToPath(import.meta.url));
const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
};

const names = new Map();
const texts = new Map();
for (const [name, body] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    const file = join(folder, `body-${names.size}.mts`);
    names.set(file, name);
    texts.set(
        file,
        'import type { RequestBody } from "./request_body.mjs";\n' +
            `export const body: RequestBody = ${JSON.stringify(body, null, 1)};\n`,
    );
}

const host = ts.createCompilerHost(options);
const { getSourceFile, readFile, fileExists } = host;
host.getSourceFile = (file, language, ...rest) =>
    texts.has(file) ? ts.createSourceFile(file, texts.get(file), language) : getSourceFile.call(host, file, language, ...rest);
host.readFile = (file) => texts.get(file) ?? readFile.call(host, file);
host.fileExists = (file) => texts.has(file) || fileExists.call(host, file);

const complaints = {};
const program = ts.createProgram([...texts.keys()], options, host);
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
    const sentence = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    const name = names.get(diagnostic.file?.fileName) ?? "the compiler itself";
    const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start).line;
    const source = line === undefined ? "" : diagnostic.file.text.split("\n")[line].trim().slice(0, 200);
    (complaints[name] ??= []).push(`${source}: ${sentence}`.slice(0, 2000));
}
process.stdout.write(JSON.stringify(complaints));
